"""The page opens from a file, fast, in any window, and asks for nothing else."""

import pytest

pytestmark = pytest.mark.browser
OPEN = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


@pytest.mark.parametrize("name", ["plain", "hostile", "heavy"])
def test_nothing_leaves_the_file_and_nothing_goes_wrong(name, visit, request):
    path = request.getfixturevalue(name)
    seen = visit(path)
    seen.page.evaluate(OPEN)
    seen.page.locator(".person").first.select_option(index=1)
    assert seen.requests[0] == path.as_uri()
    assert (seen.outside, seen.complaints) == ([], [])


def test_what_leaves_a_file_and_what_goes_wrong_is_seen(visit, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(
        "<img src='https://example.invalid/x.png'><script>nowhere(); </script><script>alert('boo')</script>"
    )
    seen = visit(path)
    assert seen.outside == ["https://example.invalid/x.png"]
    assert any("nowhere is not defined" in complaint for complaint in seen.complaints)
    assert "boo" in seen.complaints


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_the_page_is_never_wider_than_the_window(name, width, visit, request):
    page = visit(request.getfixturevalue(name), width).page
    page.evaluate(OPEN)
    page.locator(".person").first.select_option(index=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_names_do_not_turn_the_words_around_them(hostile, visit):
    about = visit(hostile).page.locator(".about", has_text="right to left")
    ends = """element => ["24", "queries"].map(word => {
        const text = element.lastChild, start = text.textContent.indexOf(word), range = document.createRange();
        range.setStart(text, start);
        range.setEnd(text, start + word.length);
        return range.getBoundingClientRect().left;
    })"""
    left, right = about.evaluate(ends)
    assert left < right


def test_opens_within_a_second_and_a_half(heavy, chromium):
    """Of work of the browser, which a busy machine does not stretch."""
    assert 4e6 < heavy.stat().st_size < 8e6
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(heavy.as_uri(), wait_until="load")
    seconds = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    page.context.close()
    assert seconds["ProcessTime"] <= 1.5


@pytest.mark.parametrize("width", [1280, 390])
def test_a_link_leads_to_a_title_that_nothing_covers(width, plain, visit):
    page = visit(plain, width).page
    top = """title => {
        const { x, y } = title.getBoundingClientRect();
        return document.elementFromPoint(x + 2, y + 12) === title;
    }"""
    for link in page.locator("nav a").all():
        link.click()
        assert page.locator(f"{link.get_attribute('href')}-title").evaluate(top), link.text_content()
