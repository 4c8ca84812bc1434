"""What a reader can do on the page, by mouse and by keyboard alone."""

from itertools import pairwise

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def page(plain, visit):
    seen = visit(plain)
    yield seen.page
    assert seen.complaints == []


def column(page, head):
    """The column of the table of results: the shown text of its cells, or the values it is sorted by."""
    return page.evaluate(
        """head => {
            const place = [...document.querySelectorAll("#rows thead th")].findIndex(each => each.textContent === head);
            const cells = [...document.querySelectorAll("#rows tbody tr:not([hidden])")].map(row => row.cells[place]);
            return cells.map(cell => cell.dataset.value ?? cell.textContent);
        }""",
        head,
    )


def head(page, name):
    return page.locator("#rows thead th").filter(has=page.get_by_role("button", name=name, exact=True))


def test_a_press_on_a_head_sorts_numbers_as_numbers(page):
    for name in ("mAP", "Total", "Passes"):
        values = [float(value) for value in column(page, name)]
        assert values not in (sorted(values), sorted(values, reverse=True))
        for order in ("ascending", "descending"):
            head(page, name).get_by_role("button").click()
            assert [float(value) for value in column(page, name)] == sorted(values, reverse=order == "descending")
            assert head(page, name).get_attribute("aria-sort") == order


def test_a_press_on_a_head_sorts_words_as_words_and_only_by_it(page):
    head(page, "mAP").get_by_role("button").click()
    head(page, "Attack").get_by_role("button").click()
    names = column(page, "Attack")
    assert names == sorted(names, key=str.lower)
    assert len(set(names)) > 5
    assert page.locator("#rows [aria-sort]").count() == 1


def test_filters_show_what_they_say_and_count_it(page):
    count = page.locator("#count")
    assert count.text_content() == "19 of 19 results"
    page.get_by_label("Find").fill("PUSH")
    assert sorted(column(page, "Attack")) == ["push", "push", "push longer", "push longer", "push longest"]
    assert count.text_content() == "5 of 19 results"
    page.locator("#which").select_option(label="models/other.onnx")
    assert column(page, "Model") == ["models/other.onnx"] * 2
    assert count.text_content() == "2 of 19 results"
    page.get_by_label("Find").fill("")
    page.get_by_label("Kind").select_option("control")
    assert column(page, "Attack") == ["random sign"]
    assert count.text_content() == "1 of 19 results"
    page.get_by_label("Find").fill("no such name")
    assert count.text_content() == "0 of 19 results"


def scores(explorer):
    """Of the chosen query: the line of the table of each goal."""
    return {
        line.locator("th").text_content(): line.locator("td").all_text_contents()
        for line in explorer.locator(".details tr").all()[1:]
    }


def points(explorer):
    return explorer.locator(".plot:visible [id$=-points] use")


@pytest.mark.parametrize("place", [0, 17])
def test_a_press_on_a_point_shows_its_query(page, place):
    explorer = page.locator(".explorer").nth(1)
    points(explorer).nth(place).click()
    assert explorer.locator(".details h4").text_content() == f"query-{place}.png"
    clean = scores(explorer)["clean"]
    assert clean[0] == f"{80 + 20 * place / 23:.1f}"
    assert explorer.locator(".details").get_by_role("img", name=f"query query-{place}.png").is_visible()
    chosen = explorer.locator(".plot:visible use.chosen")
    assert chosen.count() == 1
    assert chosen.evaluate("use => [...use.parentNode.parentNode.querySelectorAll('use')].indexOf(use)") == place
    assert explorer.locator(".person").input_value() == str(place)
    assert page.locator(".explorer").first.locator(".details h4").count() == 0


def test_another_goal_keeps_the_query(page):
    explorer = page.locator(".explorer").first
    points(explorer).nth(5).click()
    before = scores(explorer)
    explorer.get_by_label("Attacked").select_option("image")
    assert explorer.locator(".plot:visible").get_attribute("data-goal") == "image"
    assert explorer.locator(".details h4").text_content() == "query-5.png"
    assert scores(explorer) == before
    assert len({line[0] for line in before.values()}) > 3
    assert points(explorer).nth(5).evaluate("use => use.classList.contains('chosen')")


def test_the_list_begins_with_the_most_harmed_and_can_be_left(page):
    explorer = page.locator(".explorer").first
    lines = explorer.locator(".person option").all_text_contents()[1:]
    falls = [float(line.split(": ")[1].split(" to ")[0]) - float(line.split(" to ")[1]) for line in lines]
    assert all(first >= second - 0.11 for first, second in pairwise(falls))
    explorer.locator(".person").select_option(index=1)
    assert explorer.locator(".details h4").text_content() == lines[0].split(":")[0]
    explorer.locator(".person").select_option("")
    assert explorer.locator(".details").text_content() == "No query is chosen."
    assert explorer.locator("use.chosen").count() == 0


def tab_to(page, target):
    """Press Tab until the element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{target} is not reached by Tab")


def test_the_keyboard_reaches_and_uses_all_of_it(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    tab_to(page, page.locator("#theme"))
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    closed = page.locator("details:not([open])").first
    name = closed.locator("summary").text_content()
    tab_to(page, closed.locator("summary"))
    page.keyboard.press("Enter")
    assert page.locator("details[open] > summary").filter(has_text=name).count() == 1
    explorer = page.locator(".explorer").first
    tab_to(page, explorer.locator(".goal"))
    page.keyboard.press("ArrowDown")
    assert explorer.locator(".plot:visible").get_attribute("data-goal") == "image"
    tab_to(page, explorer.locator(".person"))
    page.keyboard.press("ArrowDown")
    assert explorer.locator(".details h4").count() == 1
    tab_to(page, page.locator("#find"))
    page.keyboard.type("square")
    assert page.locator("#count").text_content() == "2 of 19 results"
    tab_to(page, head(page, "mAP").get_by_role("button"))
    page.keyboard.press("Enter")
    assert head(page, "mAP").get_attribute("aria-sort") == "ascending"


def test_what_has_the_focus_is_marked(page):
    for target in (page.locator("#theme"), page.locator("summary").first, head(page, "mAP").get_by_role("button")):
        tab_to(page, target)
        assert target.evaluate("element => parseFloat(getComputedStyle(element).outlineWidth)") >= 2


PAPER = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 23, 28)"


@pytest.mark.parametrize(("scheme", "first", "second"), [("light", LIGHT, DARK), ("dark", DARK, LIGHT)])
def test_light_and_dark_follow_the_system_until_the_button_is_pressed(plain, visit, scheme, first, second):
    page = visit(plain, scheme=scheme).page
    button = page.locator("#theme")
    assert page.evaluate(PAPER) == first
    assert button.text_content() == ("Dark mode" if first == LIGHT else "Light mode")
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    assert page.evaluate(PAPER) == second
    page.emulate_media(color_scheme=scheme)
    button.click()
    assert page.evaluate(PAPER) == second
    assert button.text_content() == ("Dark mode" if second == LIGHT else "Light mode")
    page.emulate_media(color_scheme="dark" if second == LIGHT else "light")
    assert page.evaluate(PAPER) == second
    button.click()
    assert page.evaluate(PAPER) == first


def test_paper_has_no_controls_and_is_light_and_shows_all(plain, visit):
    page = visit(plain, scheme="dark").page
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.evaluate(PAPER) == DARK
    page.emulate_media(media="print")
    for control in page.locator("nav, .choices, .skip, .hint").all():
        assert not control.is_visible()
    assert page.evaluate(PAPER) == LIGHT
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 with narrow margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
