"""The pictures of any folder, whose names need not say who is on them."""

import logging
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
        others = f" (found there: {left_out})" if left_out else ""
        raise DatasetError(f"no images in {folder}{others}; give the folder that holds them, as JPEG or PNG")
    if left_out:
        logger.warning("%s: %s", folder, left_out)
    found = {name: Sample(str(folder / name), -1, 0) for name in names}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        problems = progress(pool.map(_problem, found.values()), len(names), "checking image")
        broken = {name: error for name, error in zip(names, problems, strict=True) if error}
    if len(broken) > 1:
        problem = f"{len(broken)} of {len(names)} images in {folder} cannot be read: {few(broken)}"
        raise DatasetError(f"{problem}; restore or remove them")
    for error in broken.values():
        raise error
    return found


def _problem(sample: Sample) -> DatasetError | None:
    try:
        picture.check(sample.path, sample.path)
    except DatasetError as error:
        return error
    return None
