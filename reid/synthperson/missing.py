"""Drawn datasets, made where they are not there yet."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from reid.datasets import find_loader
from reid.errors import DatasetError
from reid.synthperson.generate import DEFAULTS, SETTINGS, generate

logger = logging.getLogger(__name__)


def draw_missing(
    names: Iterable[str], roots: Mapping[str, str | Path], size: tuple[int, int], ids: int | None = None, seed: int = 0
) -> None:
    """Draw the sets among `names` that are drawn ones and not below their root, with images of `size` (height, width).

    `roots` are those of `datasets.create`. One that is there stays as it is, whatever its size. Raises DatasetError
    where that has other than `ids` training identities.
    """
    for name in (find_loader(each).name for each in names):
        home = Path(roots.get(name, roots.get("", "data"))).expanduser() / name
        if name not in DEFAULTS or name in roots:
            continue
        if not any(home.glob("[!.]*")):  # hidden files are left over from a drawing that was killed
            count = ids or DEFAULTS[name].ids
            logger.info("%s is not there yet: drawing it, %d training identities, %d x %d", home, count, *size)
            generate(name, home / "raw", ids=ids, height=size[0], width=size[1], seed=seed)
        elif ids and (found := _ids(home)) != ids:
            problem = f"{home} is there with {found or 'an unknown number of'} training identities, not {ids}"
            raise DatasetError(f"{problem}; leave --ids out to take it, or give another --data")


def _ids(home: Path) -> int | None:
    try:
        return json.loads((home / "raw" / SETTINGS).read_text()).get("ids")
    except (OSError, ValueError, AttributeError):
        return None
