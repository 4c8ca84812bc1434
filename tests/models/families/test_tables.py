"""The tables of families in the documentation, and what makes them."""

from pathlib import Path

import pytest

from reid.models.families import FAMILIES
from reid.models.families.__main__ import main, tables
from reid.models.inputs import InputSpec, described, preprocessing

PAGE = Path(__file__).parents[3] / "docs" / "bring-your-model.md"


def test_the_page_shows_what_the_command_prints(capsys):
    main([])
    printed = capsys.readouterr().out
    assert printed == tables() + "\n"
    assert f"\n{printed}\n" in PAGE.read_text(), "replace its tables by what python -m reid.models.families prints"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_what_users_should_know(name):
    family = FAMILIES[name]()
    for text in (family.feature, family.told_by, family.traps, family.seen, FAMILIES.summary(name)):
        assert text
        assert not set("|\n") & set(text)  # which would end a cell


def test_an_input_in_words_has_the_name_of_a_usual_preprocessing_or_its_numbers():
    assert described(preprocessing("255-bgr", 256, 128)) == "256 x 128, bilinear, 255-bgr"
    assert described(InputSpec(64, 32, None)) == "64 x 32, or any other size, unit"
    spec = InputSpec(64, 32, "bicubic", "bgr", 255.0, (1.0, 2.0, 3.0), (0.25, 1.0, 1.0))
    assert described(spec) == "64 x 32, bicubic, BGR in [0, 255], mean 1 2 3, deviation 0.25 1 1"
