"""What a suite found on a row of the defence study, as a file of a few kB that outlives the machine.

    python -m studies.record RESULTS --start A/model_best.pth --trained "--defense none" --out seed0/none/test.json

studies/defenseStudy.sh writes such records, studies/defense.py reads them.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reid.errors import ReidError
from reid.runtime import cli
from reid.runtime.files import sha256, write_atomically
from studies.defense_results import CLEAN, COLUMNS, GOALS

KEPT = ("suite", "dataset", "protocol", "seed", "eps", "clean", "chance", "worst", "intervals", "passes", "seconds")


def record(folder: Path, start: Path, trained: str) -> dict[str, Any]:
    """The record of the results in a folder: parts of the summary (docs/suite.md), what was ranked, and of each query
    the pid and the average precision, clean and as the verdict has it. `start` is the file of the model that training,
    with the options `trained`, began with.

    Raises ReidError where the folder is not that of one suite on one model that judged all queries by all of GOALS.
    """
    from reid.report.evidence import subjects

    first, *others = subjects([folder])
    judgement, summary = first.judgement, first.summary
    known = ~np.isnan(judgement.clean.precision)
    worst = {goal: found.precision for goal in GOALS if (found := judgement.worst(goal))}
    values = {CLEAN: judgement.clean.precision, **worst}
    precision = {name: np.round(each[known], 4).tolist() for name, each in values.items()}
    if others or not first.suite or precision.keys() != COLUMNS.keys() or np.isnan([*precision.values()]).any():
        problem = f"{folder} does not hold one finished suite with {', '.join(GOALS)}"
        raise ReidError(f"{problem}; remove it if it has another model too, and judge again")
    return {
        **{key: summary[key] for key in KEPT},
        "strongest": {goal: {key: summary["strongest"][goal][key] for key in ("attack", "mAP")} for goal in GOALS},
        "flags": [{key: flag[key] for key in ("name", "detail")} for flag in summary["flags"]],
        "model": first.clean.victim["sha256"],
        "start": sha256(start),
        "trained": trained,
        "contents": first.clean.dataset["contents"],
        "pids": judgement.pids[known].tolist(),
        "precision": precision,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m studies.record")
    add = parser.add_argument
    add("results", type=Path, help="folder of the results of one model by one suite")
    add("--start", type=Path, required=True, metavar="FILE", help="the model that training began with")
    add("--trained", default="", metavar="OPTIONS", help="how it was trained (default: not at all)")
    add("--out", type=Path, required=True, metavar="FILE", help="the record to write")
    args = parser.parse_args(argv)
    text = json.dumps(record(args.results, args.start, args.trained), allow_nan=False) + "\n"
    write_atomically(args.out, lambda temporary: temporary.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    cli.run(main)
