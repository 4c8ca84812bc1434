"""Pages of made-up results, and a headless Chromium that opens them and notes what they ask for and what goes wrong."""

import io
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from made_up import judged, row, summary
from PIL import Image

from reid.evaluation.exhibits import CONTENT, write_exhibit, zipped
from reid.report.evidence import subjects
from reid.report.page import write_page

MARKUP = (
    "</script><script>alert(1)</script> {{ 7 * 7 }} $\\frac{1 \"'><img src=https://example.invalid/x onerror=alert(1)>"
)
HOSTILE = (MARKUP, "\u202eright to left", "endless" * 20)
FONTS = """<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir>
<match><edit name="family" mode="append_last"><string>DejaVu Sans</string></edit></match></fontconfig>"""


def pytest_addoption(parser):
    parser.addoption(
        "--approve",
        action="store_true",
        help="take the screenshots and the hash of the page of this run as the approved ones",
    )


@dataclass
class Visit:
    """A page in the browser, the addresses it asked for, and what the browser complained of."""

    page: object
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def outside(self):
        return [address for address in self.requests if not address.startswith(("file:", "data:"))]


@pytest.fixture(scope="session")
def fonts(tmp_path_factory):
    """Settings by which every machine has the same fonts: those that come with matplotlib."""
    folder = tmp_path_factory.mktemp("fonts")
    path = folder / "fonts.conf"
    path.write_text(FONTS.format(fonts=Path(matplotlib.get_data_path(), "fonts", "ttf"), cache=folder))
    return {"FONTCONFIG_FILE": str(path)}


@pytest.fixture(scope="session")
def chromium(fonts):
    playwright = pytest.importorskip("playwright.sync_api", reason="bash runTests.sh --browser installs it")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), env=os.environ | fonts)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """A function that opens an HTML file in a window of a width, in light or dark."""
    contexts = []

    def visit(path, width=1280, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(15_000)  # milliseconds
        contexts.append(context)
        seen = Visit(context.new_page())
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("console", lambda message: seen.complaints.append(f"{message.type}: {message.text}"))
        seen.page.on("dialog", lambda dialog: (seen.complaints.append(dialog.message), dialog.dismiss()))
        seen.page.goto(path.as_uri())
        return seen

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A function that makes the page of the models that `fill(folder)` writes results of."""

    def made(name, fill):
        folder = tmp_path_factory.mktemp(name)
        fill(folder)
        path = folder / "report.html"
        write_page(path, subjects([folder]), "Robustness of re-identification")
        return path

    return made


@pytest.fixture(scope="session")
def plain(made):
    """Two models, one of them under a suite that raises a flag."""

    def fill(folder):
        longer = row(folder, "push longest", "image", 0.1, settings={"attack": "push", "steps": 40}, asked=6)
        summary(folder, [*judged(folder, scattered=True), longer])
        judged(folder / "other", model="other.onnx", scattered=True)

    return made("plain", fill)


@pytest.fixture(scope="session")
def hostile(made):
    """Models, datasets and attacks whose names try to be more than names."""

    def fill(folder):
        for place, name in enumerate(HOSTILE):
            judged(folder / str(place), model=name, dataset=name)
            row(folder / str(place), name, "image", 0.2, model=name, dataset=name)

    return made("hostile", fill)


@pytest.fixture(scope="session")
def heavy(made):
    """Three models as heavy as a page may be: 400 queries with a picture each, and many rows."""
    noise = np.random.default_rng(0)

    def fill(folder):
        for name in "abc":
            place = folder / name
            clean, *_ = judged(place, model=name, asked=400, scattered=True)
            write_exhibit(place, clean, _people(400, noise))
            for number in range(30):
                row(place, f"attack {number}", "image", 0.5, model=name, asked=400, pictures=False)

    return made("heavy", fill)


def _people(count, noise):
    """An exhibit of clean images in which no two pictures are the same."""
    files = {}
    for place in range(count):
        file = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (72, 36, 3), dtype=np.uint8)).save(file, "JPEG", quality=60)
        files[f"{place}.jpg"] = file.getvalue()
    named = [{"place": i, "file": f"{i}.png", "pid": i, "camid": 0, "image": f"{i}.jpg"} for i in range(count)]
    return zipped({CONTENT: json.dumps({"schema_version": 1, "people": named}).encode(), **files})
