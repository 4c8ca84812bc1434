"""The tables of families in the documentation, and what makes them."""

from pathlib import Path

import pytest
from pages import assert_shows

from reid.models.families import FAMILIES
from reid.models.families.__main__ import main, tables

PAGE = Path(__file__).parents[3] / "docs" / "bring-your-model.md"


def test_the_page_shows_what_the_command_prints(capsys):
    assert_shows(PAGE, main, tables, "reid.models.families", capsys)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_says_what_users_should_know(name):
    family = FAMILIES[name]()
    for text in (family.feature, family.told_by, family.traps, family.seen, FAMILIES.summary(name)):
        assert text
        assert not set("|\n") & set(text)  # which would end a cell
