"""The pictures of any folder, whose names need not say who is on them."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reid.datasets import picture
from reid.datasets.base import Sample
from reid.datasets.source import Folder
from reid.errors import DatasetError, few
from reid.runtime.progress import progress

logger = logging.getLogger(__name__)


def samples(folder: str | Path, workers: int = 2) -> dict[str, Sample]:
    """All pictures below a folder by their names in it, such as "query/a.jpg", in order; of pid -1 and camera 0.

    Warns of the files that are none. Raises DatasetError for a folder that is missing or without pictures, and naming
    the ones that cannot be read.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        problem = f"{folder} is a file, not a folder" if folder.exists() else f"no such folder: {folder}"
        raise DatasetError(f"{problem}; give the folder that holds the images")
    source = Folder(folder, [""])
    names = source.all_images()
    left_out = source.left_out(names)
    if not names:
        found = f" (found there: {left_out})" if left_out else ""
        raise DatasetError(f"no images in {folder}{found}; give the folder that holds them, as JPEG or PNG")
    if left_out:
        logger.warning("not used of %s: %s", folder, left_out)
    paths = [str(folder / name) for name in names]
    _check(paths, workers)
    return {name: Sample(path, -1, 0) for name, path in zip(names, paths, strict=True)}


def _check(paths: Sequence[str], workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        broken = list(filter(None, progress(pool.map(_problem, paths), len(paths), "checking images")))
    if len(broken) == 1:
        raise broken[0][1]
    if broken:
        shown = few(path for path, _ in broken)
        raise DatasetError(f"{len(broken)} of {len(paths)} images cannot be read: {shown}; restore or remove them")


def _problem(path: str) -> tuple[str, DatasetError] | None:
    try:
        picture.check(path, path)
    except DatasetError as error:
        return path, error
    return None
