"""The end of the demo: summary.json and the printed tables, from the results of its evaluations."""

from __future__ import annotations

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid.errors import ReidError
from reid.runtime import cli
from reid.runtime.files import sha256, write_atomically
from studies.columns import CLEAN, PGD, RANDOM_BOTH, RANDOM_LUT, RANDOM_SIGN, RELEARNT, column, lowest

if TYPE_CHECKING:
    from reid.evaluation.results import Result

VICTIMS = ("A", "B")
UNDEFENDED, DEFENDED = "A", "D"  # D is fine-tuned from A
LEARNT_ON_A = {noise_type: f"attack/{noise_type}/best_perturbation3.pth" for noise_type in ("0", "1", "2")}
SUITE = "reid-smoke-v1"
CONTROLS = {"random_sign": RANDOM_SIGN, "random_lut": RANDOM_LUT, "both": RANDOM_BOTH}


def summarise(folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    """The numbers of `folder`/results/{A,B,D}, mAP as fractions; see README.md for the layout.

    Only results of the models and perturbations that are in `folder` now count. Raises ReidError when some are missing.
    """
    from reid.evaluation.results import read_results
    from reid.training.keeper import BEST_FILE

    files = {sha256(folder / path): noise_type for noise_type, path in LEARNT_ON_A.items()}
    victims, withstood, suites = {}, {}, {}
    for name in (*VICTIMS, DEFENDED):
        model = sha256(folder / name / BEST_FILE)
        measured = [
            result
            for result in read_results(folder / "results" / name)
            if (result.victim["sha256"], result.seed) == (model, seed)
        ]
        scores = lowest(measured, lambda result: files.get(result.attack["sha256"]) or column(result))
        try:
            if name in VICTIMS:
                victims[name] = _victim(measured[0], scores)
            if name in (UNDEFENDED, DEFENDED):
                withstood[name] = _withstood(scores)
                suites[name] = _verdict(folder / "results" / name, model)
        except (KeyError, IndexError, OSError, ValueError) as error:
            raise ReidError(f"{folder}/results/{name} lacks results of the demo; run bash runDemo.sh") from error
    defended = withstood[DEFENDED] | {"undefended": withstood[UNDEFENDED]}
    return {"victims": victims, "defended": defended, "suite": suites, "seed": seed, "seconds": seconds}


def _victim(result: Result, scores: Mapping[str, float]) -> dict[str, Any]:
    return {
        "arch": result.victim["arch"],
        "dataset": result.dataset["name"],
        "clean": scores[CLEAN],
        "attacked": {noise_type: scores[noise_type] for noise_type in LEARNT_ON_A},
        "controls": {key: scores[name] for key, name in CONTROLS.items()},
        "chance": result.metrics["chance_mAP"],
    }


def _withstood(scores: Mapping[str, float]) -> dict[str, Any]:
    return {
        "clean": scores[CLEAN],
        "frozen": scores["0"],
        "relearnt": scores[RELEARNT],
        "pgd": scores[PGD],
        "controls": {key: scores[name] for key, name in CONTROLS.items()},
    }


def _verdict(folder: Path, model: str) -> dict[str, Any]:
    """The summary of the suite in a folder of results, of the model of this hash. Raises KeyError for another model."""
    summary = json.loads((folder / f"{SUITE}-summary.json").read_text(encoding="utf-8"))
    if summary["model"]["sha256"] != model:
        raise KeyError(f"{folder} judges another model")
    return summary


def comparison(victims: dict[str, dict[str, Any]]) -> str:
    """A small table: mAP in percent, one column per victim."""
    attacks = {"0": "type 0, colour + delta", "1": "type 1, colour", "2": "type 2, delta"}
    lines = [("mAP in %", [f"{name}: {victim['arch']} on {victim['dataset']}" for name, victim in victims.items()])]
    for label, value in (
        ("clean", lambda victim: victim["clean"]),
        *((label, lambda victim, key=key: victim["attacked"][key]) for key, label in attacks.items()),
        *((label, lambda victim, key=key: victim["controls"][key]) for key, label in CONTROLS.items()),
        ("chance", lambda victim: victim["chance"]),
    ):
        lines.append((label, [f"{100 * value(victim):.1f}" for victim in victims.values()]))
    return "\n".join(f"{label:<24}" + "".join(f"{cell:>24}" for cell in cells) for label, cells in lines)


def defence(defended: dict[str, Any]) -> str:
    """A small table: mAP in percent of the undefended and the defended model, one column per attack."""
    lines = [("mAP in %", ["clean", "frozen", "re-learnt", "PGD", *CONTROLS.values()])]
    for label, scores in (
        (f"undefended ({UNDEFENDED})", defended["undefended"]),
        (f"defended ({DEFENDED})", defended),
    ):
        values = [scores[key] for key in ("clean", "frozen", "relearnt", "pgd")]
        values += [scores["controls"][key] for key in CONTROLS]
        lines.append((label, [f"{100 * value:.1f}" for value in values]))
    table = "\n".join(f"{label:<16}" + "".join(f"{cell:>13}" for cell in cells) for label, cells in lines)
    return (
        f"{table}\n"
        f"frozen: type 0, learnt on {UNDEFENDED}; re-learnt: type 0, learnt on that very model, the worst restart;\n"
        "PGD: another perturbation for each image. Total budgets: type 0 and random both 16/255, all others 8/255"
    )


def verdict(suites: dict[str, Any]) -> str:
    """A small table: what each kind of attacker leaves of both models, mAP in percent."""
    goals = [goal for goal, mAP in suites[DEFENDED]["worst"].items() if mAP is not None]
    lines = [f"{'mAP in %, verdict of the suite':<34}" + "".join(f"{goal:>15}" for goal in ["clean", *goals])]
    for label, name in (("undefended", UNDEFENDED), ("defended", DEFENDED)):
        scores = [suites[name]["clean"], *(suites[name]["worst"][goal] for goal in goals)]
        lines.append(f"{f'{label} ({name})':<34}" + "".join(f"{_percent(score):>15}" for score in scores))
    return "\n".join(lines)


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m studies.demo")
    parser.add_argument("folder", type=Path, help="folder of the demo, with results/A, results/B and results/D in it")
    parser.add_argument("--seed", type=cli.natural_int, default=0, help="seed that the demo ran with")
    parser.add_argument("--seconds", type=cli.natural_float, default=0.0, help="how long the demo ran")
    args = parser.parse_args(argv)
    summary = summarise(args.folder, args.seed, args.seconds)
    path = args.folder / "summary.json"
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(summary, indent=2) + "\n"))
    print(comparison(summary["victims"]))
    print(f"\n{defence(summary['defended'])}")
    print(f"\n{verdict(summary['suite'])}")
    print(f"\nthe same as numbers: {path}")


if __name__ == "__main__":
    cli.run(main)
