"""Write into the card of a defended model what a suite found of it, and of the model that it was made from.

    python evaluate.py -d synth-b --resume vendor.onnx --suite reid-fast-v1 --results before
    python evaluate.py -d synth-b --resume defended/model_best.onnx --suite reid-fast-v1 --results after
    python -m reid.report.card defended --before before --after after

Both have to be of the very models of the card, on the same images and by the same protocol.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reid.errors import ReidError, UsageError
from reid.evaluation.results import SUMMARY, read_json, read_result
from reid.runtime import cli
from reid.runtime.budgets import format_budget
from reid.runtime.files import write_atomically
from reid.runtime.markdown import markdown
from reid.training.card import CARD_FILE, CLEAN, Told, known

logger = logging.getLogger(__name__)

GOALS = {
    "universal": "universal",
    "universal_equal_total": "delta at the total of both",
    "image": "image",
    "image_gallery": "image, gallery",
}


class Verdict(NamedTuple):
    """What the summary of a suite says: of which model, its hash, clean mAP and that of GOALS, the names of flags, the
    command; `shared` is all that has to be the same before and after."""

    path: str
    sha256: str
    scores: list[float | None]
    flags: list[str]
    command: str
    shared: dict[str, Any]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.report.card")
    add = parser.add_argument
    add("defended", type=Path, metavar="DEFENDED", help="folder of metaDefense.py --logs_dir, with the card.md")
    add(
        "--before",
        type=Path,
        required=True,
        metavar="RESULTS",
        help="results of the model that it was made from, before the first of its trainings or between two",
    )
    add("--after", type=Path, required=True, metavar="RESULTS", help="results of the defended model")
    add("--suite", default="reid-fast-v1", help="the suite that judged both")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    card = args.defended / CARD_FILE
    card_says = read_card(card)
    verdicts = {}
    *starts, last = card_says.hashes  # several where it was trained several times
    for when, folder, expected in (("before", args.before, starts), ("after", args.after, [last])):
        verdicts[when] = verdict = read_verdict(folder, args.suite)
        if verdict.sha256 not in expected:
            problem = f"{folder} is about {verdict.path} (SHA-256 {verdict.sha256[:12]})"
            raise UsageError(f"{problem}, not the model {when} in {card} ({expected[0][:12]}); evaluate that one")
    first, second = (verdict.shared for verdict in verdicts.values())
    both = [(key, first.get(key), second.get(key)) for key in first | second]
    if differing := [f"{key} ({before}, {after})" for key, before, after in both if before != after]:
        problem = f"{args.before} and {args.after} differ in {', '.join(differing)}"
        raise UsageError(f"{problem}; evaluate both models in the same way")
    clean = list(card_says.clean)
    if verdicts["before"].sha256 != starts[0]:
        clean[0] = "null"  # was measured before the first training
    rows, words = told(verdicts, clean)
    text = card_says.head + known(rows, words, [f"python {verdict.command}" for verdict in verdicts.values()])
    write_atomically(card, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(f"{markdown(rows)}\n\n{words}")
    logger.info("the same is in %s", card)


def read_card(path: Path) -> Told:
    """What a card tells. Raises UsageError for a file that is none."""
    try:
        told = Told.by(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no readable card ({error}); give the --logs_dir of a defended model") from error
    if told is None:
        raise UsageError(f"{path} is no card of this version; run its command again, with --resume-from auto")
    return told


def read_verdict(folder: Path, suite: str) -> Verdict:
    """What a suite found, in a folder of results. Raises ReidError where it did not end, or left no whole summary."""
    path = folder / f"{suite}{SUMMARY}"
    if not path.exists():
        raise UsageError(f"no {path}; run evaluate.py --suite {suite} --results {folder}, up to its verdict")
    summary = read_json(path)
    try:
        model, eps, clean = summary["model"], summary["eps"], read_result(folder / summary["results"][0])
        shared = {"suite": summary["suite"], "budget": format_budget(eps), "seed": summary["seed"]}
        shared |= {f"dataset {key}": value for key, value in clean.dataset.items()}
        rules = {key: value for key, value in summary["protocol"].items() if key != "reading"}  # that is the input
        shared |= {f"input {key}": value for key, value in model["input"].items()} | rules
        scores = [summary["clean"], *(summary["worst"][goal] for goal in GOALS)]
        flags = [flag["name"] for flag in summary["flags"]]
        return Verdict(model["path"], model["sha256"], scores, flags, summary["command"], shared)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ReidError(f"{path} is no whole summary of a suite ({error!r}); evaluate again, with --reuse") from error


def told(verdicts: Mapping[str, Verdict], clean: Sequence[str]) -> tuple[list[list[str]], str]:
    """A table of what is known of the models before and after, with their scores on validation identities, `clean`,
    and what it means."""
    rows = [["mAP in %", CLEAN, "clean", *GOALS.values()]]
    for (when, verdict), validation in zip(verdicts.items(), clean, strict=True):
        rows.append([when, validation, *("null" if mAP is None else f"{100 * mAP:.1f}" for mAP in verdict.scores)])
    shared = verdicts["after"].shared
    flags = "; ".join(f"{when}: {', '.join(verdict.flags) or 'none'}" for when, verdict in verdicts.items())
    words = (
        f"Validation identities: by training. All else: by {shared['suite']} on {shared['dataset name']}, "
        f"{shared['budget']} per component, seed {shared['seed']}: clean, universal and delta under the strongest "
        f"perturbation, image in the worst case of each query. Flags {flags}."
    )
    return rows, words


if __name__ == "__main__":
    cli.run(main)
