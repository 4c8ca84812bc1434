"""Whether attacks have converged: what the same with more steps finds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reid.evaluation.measured import Measured

LENGTHS = ("steps", "calls")  # settings that say how long an attack is


def optimality(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """What more steps gain: for each attack that was tried with more, the mAP of those queries by multiples."""
    rows = []
    for each in measured:
        tried = {_factor(each, other): other for other in measured if _factor(each, other) > 1}
        if tried and not any(_factor(other, each) > 1 for other in measured):
            tried = dict(sorted(({1.0: each} | tried).items()))
            asked = ~np.isnan(sum(other.precision for other in tried.values()))
            mAP = {f"{factor:g}x": float(other.precision[asked].mean()) for factor, other in tried.items()}
            rows.append({"attack": each.name, "queries": int(asked.sum()), "mAP": mAP})
    return rows


def _factor(one: Measured, other: Measured) -> float:
    """How many times the steps another attack has that is the same otherwise, else 0."""
    key = next((key for key in LENGTHS if key in one.settings), None)
    if key is None or key not in other.settings or one.result.threat != other.result.threat:
        return 0.0
    rest = [{name: value for name, value in each.settings.items() if name != key} for each in (one, other)]
    return other.settings[key] / one.settings[key] if one.kind == other.kind and rest[0] == rest[1] else 0.0
