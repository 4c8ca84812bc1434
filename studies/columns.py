"""What a result measures, as a column of the studies' tables; told by its fields alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid.evaluation.results import Result

CLEAN, RELEARNT, PGD = "clean", "re-learnt", "PGD"
RANDOM_SIGN, RANDOM_LUT, RANDOM_BOTH = "random sign", "random LUT", "random both"


def column(result: Result) -> str | None:
    """The column, as far as no file of a perturbation decides it; None for all others.

    A re-learnt perturbation counts where it is of type 0, for queries, and was learnt on this very model.
    """
    attack = result.attack
    settings = attack.get("settings", {})
    known = {
        "clean": CLEAN,
        "relearnt": RELEARNT if is_type_0(result) and is_learnt_on(result, result.victim["sha256"]) else None,
        "image": PGD if settings.get("attack") == "pgd" else None,
        "control": settings.get("control"),
    }
    return known.get(attack["kind"])


def is_type_0(result: Result) -> bool:
    """Whether it is colour and delta on the query side."""
    return result.attack["noise_type"] == 0 and result.threat["side"] == "query"


def is_learnt_on(result: Result, model_sha256: str) -> bool:
    """Whether the perturbation was learnt on the model of this hash."""
    return result.attack.get("learnt_on") == model_sha256


def lowest(results: Iterable[Result], column: Callable[[Result], str | None]) -> dict[str, float]:
    """The lowest mAP of each column: of several attacks the strongest counts."""
    scores: dict[str, float] = {}
    for result in results:
        if (name := column(result)) is not None:
            scores[name] = min(result.metrics["mAP"], scores.get(name, 1.0))
    return scores
