"""The page looks as a person approved, has the approved bytes, and can be read by all (axe-core)."""

import hashlib
import io
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image
from screenshots import VIEWS, difference, small

pytestmark = pytest.mark.browser
APPROVED = Path(__file__).parent / "approved"
TOLERANCE = 0.003  # share of the tiles of a page


@pytest.fixture
def look(plain, visit):
    """A function that opens the page with a query chosen."""

    def look(width, scheme):
        page = visit(plain, width, scheme).page
        page.locator(".person").first.select_option(index=1)
        page.locator("h1").click()  # nothing has the focus
        return page

    return look


def screenshot(page):
    return Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled")))


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_looks_as_approved(look, width, scheme, request, tmp_path):
    approved, now = APPROVED / f"page-{width}-{scheme}.png", screenshot(look(width, scheme))
    now.save(tmp_path / approved.name)
    if request.config.getoption("--approve", default=False):
        small(now).save(approved, optimize=True)
    share = difference(Image.open(approved), small(now))
    assert share <= TOLERANCE, f"{share:.1%} is not as approved: compare {tmp_path / approved.name} with {approved}"
    assert approved.stat().st_size <= 200_000


def test_has_the_bytes_that_were_approved(plain, request):
    """Equal results make equal pages on all machines that have the same packages."""
    approved = APPROVED / "page.json"
    now = {name: version(name) for name in ("jinja2", "matplotlib", "numpy", "pillow")}
    now["sha256"] = hashlib.sha256(plain.read_bytes()).hexdigest()
    if request.config.getoption("--approve", default=False):
        approved.write_text(json.dumps(now, indent=2) + "\n")
    before = json.loads(approved.read_text())
    if any(before[name] != now[name] for name in now if name != "sha256"):
        pytest.skip(f"approved with other packages, {before}; approve again: bash runTests.sh --browser --approve")
    assert now == before, f"{plain} has other bytes than the approved page; if you meant that: CONTRIBUTING.md"


CHANGES = {
    "larger words": "body { font-size: 17px }",
    "a figure less": "#figures figure:nth-of-type(2) svg { visibility: hidden }",
    "no bars": ".bar { visibility: hidden }",
    "another colour of a curve": ":root { --c2: #d400d4; --c5: #d400d4 }",
    "no flag": ".flags { background: var(--card) }",
    "less words": ".card dl { visibility: hidden }",
}


def test_a_page_that_looks_different_is_noticed(look):
    page, approved = look(390, "light"), Image.open(APPROVED / "page-390-light.png")
    for change, rules in CHANGES.items():
        style = page.add_style_tag(content=rules)
        assert difference(approved, small(screenshot(page))) > 2 * TOLERANCE, change
        style.evaluate("element => element.remove()")
    assert difference(approved, small(screenshot(page))) <= TOLERANCE


def test_dark_is_not_light():
    light, dark = (Image.open(APPROVED / f"page-1280-{scheme}.png") for scheme in ("light", "dark"))
    assert difference(light, light) == 0
    assert difference(light, dark) > 0.5


def serious(page):
    """What axe-core finds serious or critical: a line for each rule, with the first place that breaks it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html']}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_axe_finds_nothing_serious(look, width, scheme):
    page = look(width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert serious(page) == []


def test_what_is_hard_to_read_or_has_no_name_is_found(look):
    page = look(390, "light")
    page.add_style_tag(content=".lead { color: var(--line) }")
    page.evaluate("document.querySelector('nav').innerHTML += '<button></button>'")
    assert [line.split(":")[0] for line in serious(page)] == ["button-name", "color-contrast"]
