"""The four outputs: the same bytes from the same results, and whatever strings hold comes out as text."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.leaderboard.entries import text
from reid.leaderboard.formats import csv_text, markdown_text, tex_text
from tests.leaderboard.conftest import EPS, external, record

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"' onmouseover=alert(1) x='",
    "image": "![x](https://evil.example/x.png) [y](javascript:alert(1))",
    "mark-up": "**bold** `code` | cell | ~~gone~~ # head &amp; &lt;",
    "lines": "a\n\n# head\r\n| b |\u2028c\t=d",
    "latex": "\\input{/etc/passwd} $x_1^2$ & % # ~ {",
    "option": "[1cm] *",
    "jinja": "{{ 7 * 7 }} {% raw %} << 7 * 7 >> <% if 1 %> <# c #>",
    "formula": '=cmd()|"/c calc"!A1',
    "plus": "+1+cmd()",
    "minus": "-2+3",
    "at": "@SUM(1)",
    "direction": "\u202egnp.exe \ud800 \x1b[31m",
    "bare link": "https://evil.example www.evil.example",
}
TEX_TEXT = r"\\(text[a-z]+\{\}|[{}$&#_%])|\{[\[\]*]\}|-\{\}"  # what LaTeX prints as one character
WORDS = pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)


def everywhere(words):
    """Results with these words wherever a string of theirs is shown."""
    said = {"authors": words, "link": words, "claimed_mAP": 0.1}
    failed = [{"name": words, "passed": False, "detail": words}]
    place = {
        "victim": {"path": words, "arch": words, "sha256": words, "reading": words},
        "dataset": {"name": words, "contents": words},
        "protocol": {words: words, "distance": words},
    }
    attack = {"settings": said, "name": words}
    return [record(0.9, **place), record(0.5, "external", attack=attack, checks=failed, **place)]


class Page(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)


@WORDS
def test_hostile_strings_are_text_in_html(build, words):
    page = Page(build(*everywhere(words))["leaderboard.html"])
    assert page.tags == Page(build(*everywhere("plain"), out="plain")["leaderboard.html"]).tags | (
        {"a"} if words.startswith("https://") else set()
    )
    assert {name for name, _ in page.attributes} <= {
        *("lang", "charset", "name", "content", "class", "tabindex", "role", "aria-label", "scope", "href", "rel")
    }
    assert all(value.startswith("https://") for name, value in page.attributes if name == "href")
    shown = "".join(page.texts)
    assert shown.count(text(words)) >= 8


@WORDS
def test_hostile_strings_are_text_in_markdown(build, words):
    page = build(*everywhere(words))["leaderboard.md"]
    plain = build(*everywhere("plain"), out="plain")["leaderboard.md"]
    assert page.count(markdown_text(words)) >= 8
    assert len(page.splitlines()) == len(plain.splitlines())
    without = re.sub(r"\\.", "", page)
    marks = re.sub(r"\\.", "", plain)
    for mark in ("|", "<", "`", "[", "!", "&", "$", "~", "*", "://", "www."):
        assert without.count(mark) == marks.count(mark)


@WORDS
def test_hostile_strings_are_text_in_latex(build, words):
    page = build(*everywhere(words))["leaderboard.tex"]
    plain = build(*everywhere("plain"), out="plain")["leaderboard.tex"]
    assert page.count(tex_text(words)) >= 8
    commands = r"\\[a-zA-Z]+|[&%$^{}\\]"
    assert re.findall(commands, re.sub(TEX_TEXT, "", page)) == re.findall(commands, re.sub(TEX_TEXT, "", plain))


@WORDS
def test_hostile_strings_are_text_in_csv(build, words):
    files = build(*everywhere(words))
    (table,) = (content for name, content in files.items() if name.endswith(".csv"))
    head, *lines = csv.reader(io.StringIO(table))
    assert len(lines) == 1
    (line,) = lines
    assert len(line) == len(head)
    assert not [cell for cell in line if re.match(r"\s*[=+\-@]", cell)]
    values = dict(zip(head, line, strict=True))
    assert values["attack"] in (text(words), f"'{text(words)}")
    assert all(values[name] == values["attack"] for name in ("dataset", "arch", "reading", "authors", "link"))


@given(st.text())
def test_any_text_is_escaped_whole(words):
    shown = text(words)
    assert re.sub(r"\\(.)", r"\1", markdown_text(words)) == shown
    assert not re.search(r"[\\`*_{}\[\]<>#|~&$!@]", re.sub(r"\\.", "", markdown_text(words)))
    assert not re.search(r"[\\{}$&#_%~^<>|`\[\]*-]", re.sub(TEX_TEXT, "", tex_text(words)))
    assert not re.match(r"\s*[=+\-@＝＋－＠]", csv_text(words))
    assert csv_text(words).removeprefix("'") == shown.removeprefix("'")


def test_texts_that_are_too_long_are_cut():
    assert len(text("x" * 10**6)) == 300


def results():
    return [
        record(mAP, kind, model=model, eps=eps, name=f"{kind} {mAP}")
        for model in "abc"
        for eps in (EPS, 2 * EPS)
        for kind, mAP in (("clean", 0.9), ("image", 0.5), ("image", 0.5001), ("search", 0.4), ("relearnt", 0.3))
    ] + [external(0.2, model="b")]


def test_the_same_results_give_the_same_bytes_wherever_and_in_whatever_order_they_lie(build, tmp_path):
    from reid.evaluation.results import write_result

    once = build(*results())
    for place, result in enumerate(reversed(results())):
        write_result(tmp_path / f"x/{place % 3}/deep{place}", result)
    again = build(folders=[tmp_path / f"x/{place}" for place in (2, 0, 1, 2)], out="again")
    assert once == again
    assert str(tmp_path) not in "".join(once.values())
    assert "/home/me" not in "".join(once.values())


def test_the_page_needs_nothing_else(build):
    page = build(*results())["leaderboard.html"]
    assert not re.search(r"<script|<link|<img|@import|url\(|src=", page)
    assert "prefers-color-scheme: dark" in page


def test_formats_can_be_chosen_and_tables_that_are_gone_have_no_file(build, tmp_path):
    first = build(record(0.9), record(0.5, "image"))
    mine = tmp_path / "out" / "leaderboard-notes.csv"
    mine.write_text("mine")
    for path in (tmp_path / "results").iterdir():
        path.unlink()
    second = build(record(0.9), record(0.5, "image", eps=2 * EPS), options=["--format", "csv"])
    tables = [name for name in second if re.fullmatch(r"leaderboard-[0-9a-f]{8}\.csv", name)]
    assert len(tables) == 1
    assert tables[0] not in first
    assert mine.exists()
    assert [*build(options=["--format", "md"], out="md")] == ["leaderboard.md"]
