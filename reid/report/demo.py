"""The end of the demo: summary.json and the printed table, from the results of its evaluations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid.defenses.plain import BEST_FILE
from reid.errors import ReidError
from reid.evaluation.results import Result, read_results
from reid.evaluation.suite import CLEAN, RANDOM_BOTH, RANDOM_LUT, RANDOM_SIGN
from reid.files import sha256, write_atomically
from reid.training import cli

VICTIMS = ("A", "B")


def summarise(folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    """The numbers of `folder`/results/{A,B}, mAP as fractions; see README.md for the layout.

    Only results of the models and attackers that are in `folder` now count. Raises ReidError when some are missing.
    """
    attackers = {sha256(path) for path in folder.glob("attack/*/best_perturbation*.pth")} | {None}
    victims = {}
    for name in VICTIMS:
        model = sha256(folder / name / BEST_FILE)
        found = [
            result
            for result in read_results(folder / "results" / name)
            if (result.victim["sha256"], result.seed) == (model, seed) and result.attacker["sha256"] in attackers
        ]
        try:
            victims[name] = _victim(found)
        except (KeyError, IndexError) as error:
            raise ReidError(f"{folder}/results/{name} lacks results of the demo; run bash runDemo.sh") from error
    return {"victims": victims, "seed": seed, "seconds": seconds}


def _victim(results: Sequence[Result]) -> dict[str, Any]:
    first = results[0]
    controls = {result.attacker["name"].rpartition(" ")[0]: result.metrics["mAP"] for result in results}
    learnt = {
        str(result.attacker["noise_type"]): result.metrics["mAP"] for result in results if result.attacker["sha256"]
    }
    names = {result.attacker["name"]: result.metrics["mAP"] for result in results}
    return {
        "arch": first.victim["arch"],
        "dataset": first.dataset["name"],
        "clean": names[CLEAN],
        "attacked": {key: learnt[key] for key in ("0", "1", "2")},
        "controls": {
            "random_sign": controls[RANDOM_SIGN],
            "random_lut": controls[RANDOM_LUT],
            "both": controls[RANDOM_BOTH],
        },
        "chance": first.metrics["chance_mAP"],
    }


def comparison(victims: dict[str, dict[str, Any]]) -> str:
    """A small table: mAP in percent, one column per victim."""
    attacks = {"0": "type 0, colour + delta", "1": "type 1, colour", "2": "type 2, delta"}
    controls = {"random_sign": "random sign", "random_lut": "random LUT", "both": "random both"}
    lines = [("mAP in %", [f"{name}: {victim['arch']} on {victim['dataset']}" for name, victim in victims.items()])]
    for label, value in (
        ("clean", lambda victim: victim["clean"]),
        *((label, lambda victim, key=key: victim["attacked"][key]) for key, label in attacks.items()),
        *((label, lambda victim, key=key: victim["controls"][key]) for key, label in controls.items()),
        ("chance", lambda victim: victim["chance"]),
    ):
        lines.append((label, [f"{100 * value(victim):.1f}" for victim in victims.values()]))
    return "\n".join(f"{label:<24}" + "".join(f"{cell:>24}" for cell in cells) for label, cells in lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m reid.report.demo")
    parser.add_argument("folder", type=Path, help="folder of the demo, with results/A and results/B in it")
    parser.add_argument("--seed", type=cli.natural_int, default=0, help="seed that the demo ran with")
    parser.add_argument("--seconds", type=cli.natural_float, default=0.0, help="how long the demo ran")
    args = parser.parse_args(argv)
    summary = summarise(args.folder, args.seed, args.seconds)
    path = args.folder / "summary.json"
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(summary, indent=2) + "\n"))
    print(comparison(summary["victims"]))
    print(f"\nthe same as numbers: {path}")


if __name__ == "__main__":
    cli.run(main)
