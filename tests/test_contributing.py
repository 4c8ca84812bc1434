"""The worked examples in CONTRIBUTING.md are the files that the tests run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(r"<!-- example: (\S+) -->\n(?:```python\n(.*?)```\n)?<!-- end -->\n", re.DOTALL)


def examples(text: str) -> dict[str, str]:
    """The code of each example by the path of its file; empty where nothing is shown."""
    return dict(EXAMPLE.findall(text))


def test_every_example_is_the_file_that_it_names():
    shown = examples((ROOT / "CONTRIBUTING.md").read_text())
    files = {f"tests/plugins/{path.name}": path.read_text() for path in (ROOT / "tests" / "plugins").glob("toy_*.py")}
    assert {path: code for path, code in shown.items() if code} == files


def test_a_missing_and_an_altered_example_are_seen():
    text = "<!-- example: a.py -->\n```python\nx = 1\n```\n<!-- end -->\n\n<!-- example: b.py -->\n<!-- end -->\n"
    assert examples(text) == {"a.py": "x = 1\n", "b.py": ""}
    assert examples(text.replace("x = 1", "x = 2")) != examples(text)


def test_every_example_is_closed_and_short():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(examples(text)) == text.count("<!-- example:") == 5
    assert text.count("<!-- end -->") == text.count("<!-- example:") + text.count("<!-- excerpt:")
    assert all(len(code.splitlines()) <= 30 for code in examples(text).values())


def test_every_excerpt_is_in_the_file_that_it_names():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    shown = re.findall(r"<!-- excerpt: (\S+) -->\n```python\n(.*?)```\n<!-- end -->\n", text, re.DOTALL)
    assert len(shown) == text.count("<!-- excerpt:") == 1
    assert all(f"\n{code}" in (ROOT / path).read_text() for path, code in shown)
