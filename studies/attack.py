"""The page of the attack study: what the look-ahead is worth, and what colour is, from results alone.

python -m studies.attack runs/attack-study > docs/attack-results.md
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from reid.errors import ReidError
from reid.runtime import cli
from reid.runtime.files import sha256
from reid.runtime.markdown import markdown

MODELS = {
    "A": "A, on which all were learnt",
    "B": "B: other network, cameras and people",
    "OSNet": "OSNet x0.25 of others, trained on real people",
    "D": "D, defended",
}
MODES = {
    "maml": "maml: both sets, look-ahead as in the paper",
    "alternating": "alternating: both sets, the inner step stays",
    "both": "none, on both sets",
    "source": "none, on the source alone",
}
WAYS = {"0": "colour + delta, half of it each", "2": "delta alone", "1": "colour alone"}
Scores = dict[str, dict[str, float]]  # of a model, by hash of the file and by type of what was re-learnt

INTRODUCTION = """# What the attack gains from meta-learning, and from colour

Made by `bash studies/attackStudy.sh`. All numbers are mAP in % under universal perturbations on queries; lower is
stronger; mean ± sample standard deviation over {count} seeds of the attack. The models are those of `bash runDemo.sh`:
A and B undefended, D defended; people that no model saw in training. OSNet, where it is there, is of others.

## The look-ahead

Type 0, 8/255 per component, learnt on A from the people of synth-a, and of synth-virtual where there are two sets. All
rows of a table have taken as many gradients: a step on both sets takes two. Within the spread, nothing is known."""

COLOUR = """## Colour

The same total of 16/255, spent on a colour table and a noise image, or on one of them; learnt on each model itself,
toward the nearest identity (`nearest`), the best of two starts."""


def page(folder: Path) -> str:
    """The page for a folder as `attackStudy.sh` leaves it. Raises ReidError where results are missing."""
    scores = {name: _scores(folder / "results" / name) for name in MODELS if (folder / "results" / name).is_dir()}
    files = {sha256(path): path.parts[-3] for path in sorted(folder.glob("*-*/*/best_perturbation3.pth"))}
    efforts = sorted({int(name.partition("-")[2]) for name in files.values()})
    tables = [_look_ahead(effort, files, scores) for effort in efforts]
    seeds = len({path.parent.name for path in folder.glob("*-*/*/best_perturbation3.pth")})
    return "\n\n".join([INTRODUCTION.format(count=seeds), *tables, COLOUR, _colour(scores)])


def _scores(folder: Path) -> Scores:
    """mAP by hash of a file, and the least by noise type of what was re-learnt; "clean" and "chance" too."""
    from reid.evaluation.results import read_results

    scores: Scores = {"files": {}, "types": {}, "known": {}}
    for result in read_results(folder):
        attack, mAP = result.attack, 100 * result.metrics["mAP"]
        if attack["kind"] == "universal":
            scores["files"][attack["sha256"]] = mAP
        elif attack["kind"] == "relearnt":
            noise_type = str(attack["noise_type"])
            scores["types"][noise_type] = min(mAP, scores["types"].get(noise_type, 100.0))
        elif attack["kind"] == "clean":
            scores["known"] = {"clean": mAP, "chance": 100 * result.metrics["chance_mAP"]}
    return scores


def _look_ahead(effort: int, files: dict[str, str], scores: dict[str, Scores]) -> str:
    models = [name for name in scores if name != "D"]
    rows = [["clean", *(f"{scores[name]['known']['clean']:.1f}" for name in models)]]
    for mode, words in MODES.items():
        hashes = [digest for digest, name in files.items() if name == f"{mode}-{effort}"]
        rows.append([words, *(_spread([scores[name]["files"].get(digest) for digest in hashes]) for name in models)])
    head = ["learnt by", *(MODELS[name] for name in models)]
    return f"### {effort} gradients\n\n{markdown([head, *rows])}"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        raise ReidError("the study lacks results; run bash studies/attackStudy.sh, which goes on where it was killed")
    return f"{mean(known):.1f} ± {stdev(known):.1f}"


def _colour(scores: dict[str, Scores]) -> str:
    models = [name for name in scores if scores[name]["types"].keys() >= WAYS.keys()]
    rows = [["clean", *(f"{scores[name]['known']['clean']:.1f}" for name in models)]]
    for noise_type, words in WAYS.items():
        rows.append([words, *(f"{scores[name]['types'][noise_type]:.1f}" for name in models)])
    rows.append(["chance", *(f"{scores[name]['known']['chance']:.1f}" for name in models)])
    return markdown([["16/255 in all", *(name for name in models)], *rows])


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m studies.attack")
    parser.add_argument("folder", type=Path, help="folder of the study")
    print(page(parser.parse_args(argv).folder))


if __name__ == "__main__":
    cli.run(main)
