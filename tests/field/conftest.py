"""Odd and hostile inputs: what became of one, and small pictures to make sets of."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reid.errors import ReidError

LONGEST_LINE = 512


@dataclass(frozen=True)
class Outcome:
    """What became of an input: its `value` where it was used, else the `refusal`; the warnings of both in `counted`."""

    value: Any
    refusal: str
    counted: str


@pytest.fixture
def outcome(caplog) -> Callable[..., Outcome]:
    """A function that tries `use()`. Only an error that a user can mend, of one line, counts as a refusal."""

    def attempt(use: Callable[[], Any]) -> Outcome:
        caplog.clear()
        value, refusal = None, ""
        with caplog.at_level(logging.INFO):
            try:
                value = use()
            except ReidError as error:
                refusal = str(error)
                assert refusal
                assert "\n" not in refusal
                assert len(refusal) <= LONGEST_LINE, refusal
        lines = [record.getMessage() for record in caplog.records]
        assert all(len(line) <= LONGEST_LINE and "\n" not in line for line in lines)
        return Outcome(value, refusal, "\n".join(lines))

    return attempt


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (16, 32), **options: Any) -> Path:
    """A small coloured picture at `path`, whose suffix (or `format`) says how it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(path, **options)
    return path
