"""Colour tables as .cube files: the text of a 3D table that image editors and ffmpeg apply. Red varies fastest."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reid.attacks.base import HALF_LEVEL
from reid.attacks.formats.base import Format
from reid.attacks.threat import format_budget
from reid.attacks.universal.perturbations import NODES, Perturbation
from reid.errors import CheckpointError, few

logger = logging.getLogger(__name__)

SIZE = "LUT_3D_SIZE"
RANGES = {"DOMAIN_MIN": [0.0] * 3, "DOMAIN_MAX": [1.0] * 3, "LUT_3D_INPUT_RANGE": [0.0, 1.0]}
MOST_POINTS = 65
LARGEST = 100 * MOST_POINTS**3  # bytes: more than any such file needs
TABLE = "a colour table (.cube)"


def is_cube(path: Path) -> bool:
    """Whether a file that is text, or of unknown kind, is to be read as a colour table: by its name or its start."""
    with open(path, "rb") as file:
        return path.suffix.lower() == ".cube" or SIZE.encode() in file.read(4096)


def read(path: Path) -> Tensor:
    """The colour table (1, 25, 25, 25, 3), indexed [r, g, b], of a file with 2 to 65 points a side.

    What another number of points loses is logged. Raises CheckpointError for what is no such file.
    """
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{path} is larger than {TABLE} of {MOST_POINTS} points a side can be; save it smaller")
    points, colours = _parsed(path)
    if points is None:
        raise CheckpointError(f"{path} is not {TABLE}: no line says {SIZE}; tables of one dimension are not read")
    if len(colours) != points**3:
        problem = f"{len(colours):,} colours where {SIZE} {points} needs {points**3:,}"
        raise CheckpointError(f"{path} is {TABLE}, but has {problem}; download or save it again")
    table = torch.tensor(colours, dtype=torch.float64).reshape(points, points, points, 3).permute(2, 1, 0, 3)
    ours = resampled(table, NODES)
    if (loss := difference(table, ours)) > HALF_LEVEL:
        words = "%s has %d points a side, and ours %d: a colour may differ by up to %s from what others make of it"
        logger.warning(words, path, points, NODES, format_budget(loss))
    return ours.float()[None]


def _parsed(path: Path) -> tuple[int | None, list[list[float]]]:
    """The points along a side, and the colours in the order of the file."""
    points: int | None = None
    colours: list[list[float]] = []
    for number, words in _lines(path):
        if points and len(words) == 3 and (colour := _numbers(words)):
            colours.append(colour)
        elif words[0] == SIZE and len(words) == 2 and words[1].isdecimal() and points is None:
            points = int(words[1][:9])
            if not 2 <= points <= MOST_POINTS:
                raise CheckpointError(f"{path}: line {number} has {points} points a side; 2 to {MOST_POINTS} are read")
        elif words[0] in RANGES:
            if _numbers(words[1:]) != RANGES[words[0]]:
                raise CheckpointError(f"{path}: line {number} sets another range than 0 to 1; save the table for that")
        else:
            problem = f"{path}: line {number} is not one of {TABLE}: {few([' '.join(words)])!r}"
            raise CheckpointError(f"{problem}; it has {SIZE}, then three numbers a line")
    return points, colours


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the words of each line that says something; comments and the title do not."""
    text = path.read_bytes().decode("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and words[0] != "TITLE" and not words[0].startswith("#"):
            yield number, words


def _numbers(words: list[str]) -> list[float] | None:
    """None where one of them is no finite number."""
    try:
        numbers = [*map(float, words)]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def resampled(table: Tensor, points: int) -> Tensor:
    """A table (n, n, n, 3) with this number of points along its sides, by trilinear interpolation."""
    return table if points == len(table) else _at(table, np.linspace(0, 1, points))


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference that two tables (n, n, n, 3) make to any colour in [0, 1].

    Between the points of both, it is linear along each axis: it is largest at one of them.
    """
    sides = np.union1d(*(np.linspace(0, 1, len(table)) for table in (a, b)))
    return (_at(a, sides) - _at(b, sides)).abs().max().item()


def _at(table: Tensor, levels: np.ndarray) -> Tensor:
    """The colours of a table at these levels of red, green and blue: one axis after the other."""
    places = torch.from_numpy(levels)[:, None] * (len(table) - 1)
    weights = (1 - (places - torch.arange(len(table))).abs()).clamp(min=0)
    colours = table.double()
    for _ in range(3):  # each time the first axis goes behind the other two
        colours = torch.einsum("pi,ijkc->jkpc", weights, colours)
    return colours


def _write(path: Path, noise: Perturbation, points: int = NODES) -> str:
    table = noise.get_parameter("xform.xform_params").detach()[0]
    written = resampled(table, points).float()
    colours = written.permute(2, 1, 0, 3).reshape(-1, 3).numpy()
    title = f'TITLE "universal perturbation, colour {format_budget(noise.threat.eps_color)}"'
    head = [title, f"{SIZE} {points}", "DOMAIN_MIN 0.0 0.0 0.0", "DOMAIN_MAX 1.0 1.0 1.0"]
    lines = [*head, *(" ".join(np.format_float_positional(value, trim="0") for value in row) for row in colours)]
    path.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")
    loss = f"with which a colour differs by up to {format_budget(difference(table, written))} (25 and 49 lose nothing)"
    return f"the colour table, {points} points a side, {'to the bit' if points == NODES else loss}"


CUBE = Format(_write, "color")
