"""Write into the card of a defended model what a suite found of it, and of the model that it was made from.

    python evaluate.py -d synth-b --resume vendor.onnx --suite reid-fast-v1 --results before
    python evaluate.py -d synth-b --resume defended/model_best.onnx --suite reid-fast-v1 --results after
    python -m reid.report.card defended --before before --after after

Both have to be of the very models of the card, on the same images and by the same protocol.
"""

import argparse
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reid.errors import ReidError, UsageError
from reid.evaluation.results import SUMMARY, read_json, read_result
from reid.runtime import cli
from reid.runtime.budgets import format_budget
from reid.runtime.files import write_atomically
from reid.training.card import CARD_FILE, CLEAN, HASH, KNOWN, known

logger = logging.getLogger(__name__)

WHEN = ("before", "after")
GOALS = {
    "universal": "universal",
    "universal_equal_total": "delta at the total of both",
    "image": "image",
    "image_gallery": "image, gallery",
}


class Verdict(NamedTuple):
    """The summary of a suite in a folder, and all that has to be equal before and after."""

    folder: Path
    summary: Mapping[str, Any]
    shared: Mapping[str, Any]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.report.card")
    add = parser.add_argument
    add("defended", type=Path, metavar="DEFENDED", help="folder of metaDefense.py --logs_dir, with the card.md")
    add("--before", type=Path, required=True, metavar="RESULTS", help="results of the model that it was made from")
    add("--after", type=Path, required=True, metavar="RESULTS", help="results of the defended model")
    add("--suite", default="reid-fast-v1", help="the suite that judged both")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    path = args.defended / CARD_FILE
    head, hashes, clean = read_card(path)
    verdicts = [read_verdict(folder, args.suite) for folder in (args.before, args.after)]
    for when, expected, verdict in zip(WHEN, hashes, verdicts, strict=True):
        model = verdict.summary["model"]
        if model["sha256"] != expected:
            problem = f"--{when} {verdict.folder} is about {model['path']} (SHA-256 {str(model['sha256'])[:12]})"
            raise UsageError(f"{problem}, not the model {when} in {path} ({expected[:12]}); evaluate that one")
    first, second = (verdict.shared for verdict in verdicts)
    if differing := [f"{key} ({first.get(key)}, {second.get(key)})" for key in first if first[key] != second.get(key)]:
        problem = f"{args.before} and {args.after} differ in {', '.join(differing)}"
        raise UsageError(f"{problem}; evaluate both models in the same way")
    text = head + measured(clean, [verdict.summary for verdict in verdicts])
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    logger.info("the card with the worst cases is %s", path)


def read_card(path: Path) -> tuple[str, list[str], list[str]]:
    """Of a card: all that comes before what is known of the models, their hashes, and their clean scores in it, both
    before and after. Raises UsageError for a file that is no card of this version."""
    try:
        head, mark, rest = path.read_text(encoding="utf-8").partition(KNOWN)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no readable card ({error}); give the --logs_dir of a defended model") from error
    hashes = re.findall(rf"^\| {HASH} \| (\w+) \|$", head, re.MULTILINE)
    clean = re.findall(rf"^\| (?:{'|'.join(WHEN)}) \| ([^|]+) \|", rest, re.MULTILINE)
    if CLEAN not in rest or (len(hashes), len(clean)) != (2, 2):
        raise UsageError(f"{path} is no card of this version; let metaDefense.py --resume-from auto write it again")
    return head, hashes, clean


def read_verdict(folder: Path, suite: str) -> Verdict:
    """What a suite found in a folder of results. Raises ReidError where it did not, or where files are missing."""
    path = folder / f"{suite}{SUMMARY}"
    if not path.exists():
        raise UsageError(f"no {path}; run evaluate.py --suite {suite} --results {folder}")
    summary = read_json(path)
    try:
        clean = read_result(folder / summary["results"][0])
        shared = {"budget": format_budget(summary["eps"]), "seed": summary["seed"], **summary["protocol"]}
        shared |= {f"input {key}": value for key, value in summary["model"]["input"].items()}
        return Verdict(folder, summary, shared | {f"dataset {key}": value for key, value in clean.dataset.items()})
    except (KeyError, IndexError, TypeError) as error:
        raise ReidError(f"{path} is no summary of a suite ({error!r}); remove it, and evaluate again") from error


def measured(clean: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> str:
    """What is known of both models, with the clean scores of validation identities that the card had."""
    head = ["mAP in %", CLEAN, "clean", *GOALS.values()]
    rows = [
        [when, validation, *(_percent(value) for value in (summary["clean"], *map(summary["worst"].get, GOALS)))]
        for when, validation, summary in zip(WHEN, clean, summaries, strict=True)
    ]
    flags = [f"{when} {', '.join(flag['name'] for flag in each['flags']) or 'none'}" for when, each in zip(WHEN, summaries, strict=True)]
    first = summaries[0]
    words = (
        f"Clean and worst case of each query by {first['suite']} on {first['dataset']}, {format_budget(first['eps'])} "
        f"per component, seed {first['seed']}. Flags: {'; '.join(flags)}."
    )
    return known([head, *rows], words, [f"python {summary['command']}" for summary in summaries])


def _percent(mAP: float | None) -> str:
    return "null" if mAP is None else f"{100 * mAP:.1f}"


if __name__ == "__main__":
    cli.run(main)
