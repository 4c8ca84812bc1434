"""Listing names costs no import of torch, which takes seconds; everything public is there when it is asked for."""

import subprocess
import sys

import pytest

from reid import models

LISTING = """
import sys
from reid import models
from reid.models.families import FAMILIES
assert models.names() and [FAMILIES.summary(name) for name in FAMILIES]
assert not {"torch", "torchvision"} & sys.modules.keys()
import reid.models.checkpoint, reid.models.load
assert "torchvision" not in sys.modules
"""


def test_names_are_listed_without_torch():
    subprocess.run([sys.executable, "-c", LISTING], check=True)


@pytest.mark.parametrize("name", models.__all__)
def test_every_public_name_is_there(name):
    assert getattr(models, name).__name__ == name


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'as_victim'"):
        _ = models.as_victim
