"""Whether a clean score is what the zoo says of the very model on the very images."""

from collections.abc import Iterator

import numpy as np

from reid.evaluation.intervals import interval
from reid.evaluation.results import Result
from reid.models.zoo.entries import Figure, entry_of


def away(clean: Result, precision: np.ndarray, pids: np.ndarray) -> Iterator[str]:
    """How the result on clean images is off what the zoo has, one line for each figure; nothing for other models.

    `precision` (Q,) is the average precision of each query, NaN where it has no match, and `pids` (Q,) are those of the
    queries. What we measured is to hold the mAP in its interval; what is published, or its range, to meet the interval
    of this mAP over identities.
    """
    entry = entry_of(str(clean.victim["path"]), clean.victim["sha256"])
    if entry is None:
        return
    known = ~np.isnan(precision)
    mAP, own = float(precision[known].mean()), interval(precision[known], pids[known])
    for kind, figures, (low, high) in (("measured", entry.measured, (mAP, mAP)), ("published", entry.published, own)):
        for figure in figures:
            least, most = figure.interval or (figure.mAP, figure.mAP)
            if _is_about(figure, clean) and (high < least or low > most):
                spread = f"[{100 * own.low:.1f}, {100 * own.high:.1f}]"
                yield f"zoo:{entry.name} has mAP {100 * mAP:.1f} {spread} here; {kind}: {figure.words}"


def _is_about(figure: Figure, clean: Result) -> bool:
    """Whether a figure is of the dataset, of its very images where it says them, and of the protocol."""
    same_images = figure.contents in (None, clean.dataset.get("contents"))
    same_protocol = all(clean.protocol.get(key) == value for key, value in figure.protocol.items())
    same_protocol &= clean.protocol.get("identities") == figure.protocol.get("identities")
    return figure.dataset == clean.dataset["name"] and same_images and same_protocol
