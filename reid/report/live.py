"""The page of a run while it runs: report.html in the folder of its results."""

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from reid.errors import ReidError
from reid.evaluation.results import Result
from reid.runtime import distributed

logger = logging.getLogger(__name__)

PAGE = "report.html"
SHARE = 0.05  # of a run's time that its page may take


def followed(results: Iterable[Result], folder: Path, wanted: bool) -> Iterator[Result]:
    """The same results; if `wanted`, with a page of the folder that is rewritten as they come."""
    rest = 0.0
    for count, result in enumerate(results, start=1):
        yield result
        began = time.monotonic()
        if wanted and began >= rest and distributed.is_main():
            refresh(folder, f"This run is not finished. Results so far: {count}. Load the page again.")
            ended = time.monotonic()
            rest = ended + (ended - began) / SHARE


def refresh(folder: Path, note: str = "") -> Path | None:
    """Write the page of a folder of results; None, with a warning, where they make none."""
    from reid.report.evidence import subjects  # here, since a run that makes no page needs no templates
    from reid.report.page import write_page

    try:
        write_page(folder / PAGE, subjects([folder]), "Robustness of re-identification", note)
    except ReidError as error:
        logger.warning("no page was written: %s", error)
        return None
    return folder / PAGE
