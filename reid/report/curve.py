"""The picture of mAP against the budget: each model under a perturbation learnt on it, and under PGD on each image.

    python -m reid.report.curve -d market1501 --out curve.png \\
        --model undefended=market.pth=attack/best_perturbation4.pth \\
                defended=defenseModel/market/model_best.pth=relearnt/best_perturbation4.pth

Writes the plotted numbers beside the picture, as JSON. To add a model to a picture, draw all again with --reuse.
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tqdm import tqdm

from reid import attacks, datasets, models
from reid.attacks import format_budget
from reid.attacks.image_pgd import FeaturePGD
from reid.errors import UsageError
from reid.evaluation.adaptive import worst_relearnt
from reid.evaluation.protocol import Protocol, fingerprint, test_samples
from reid.runtime import cli
from reid.runtime.device import resolve, set_up
from reid.runtime.files import sha256, write_atomically

logger = logging.getLogger(__name__)

UNIVERSAL, PGD = "universal", "pgd"
STYLES: dict[str, tuple[Literal["-", "--"], str, str]] = {
    UNIVERSAL: ("-", "o", "universal, learnt on this model\nat its full budget, then clipped"),
    PGD: ("--", "s", "PGD on each image, {steps} steps"),
}
COLOURS = ("#c1272d", "#0b5fa5", "#2e8b57", "#e08a00", "#7b3fa0")  # of the models, in order


class Contender(NamedTuple):
    """A model to draw: its checkpoint, and the universal perturbation that was learnt on it (or the results folder)."""

    name: str
    checkpoint: Path
    attacker: Path

    def attacker_file(self) -> Path:
        """Raises ReidError when a folder holds no perturbation that was learnt on this model."""
        return worst_relearnt(self.attacker, sha256(self.checkpoint)) if self.attacker.is_dir() else self.attacker


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.report.curve")
    parser.add_argument("-d", "--dataset", required=True, help="dataset to rank: " + ", ".join(datasets.names()))
    parser.add_argument(
        "--model",
        nargs="+",
        required=True,
        type=contender,
        metavar="NAME=CHECKPOINT=ATTACKER",
        help="models, each with the attacker file learnt on that very model, or the results folder of evaluate.py "
        "--adaptive, which stands for the worst of the re-learnt attackers",
    )
    parser.add_argument(
        "--eps",
        nargs="+",
        type=cli.grey_level_budget,
        default=[level / 255 for level in (0, 2, 4, 6, 8)],
        metavar="E",
        help="budgets per component",
    )
    parser.add_argument("--steps", type=cli.positive_int, default=15, help="steps of PGD on each image")
    parser.add_argument("--out", type=Path, default=Path("curve.png"), metavar="PNG", help="the picture to write")
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="take the curves of models that are in the numbers beside --out, for images of the same names, instead of "
        "measuring them again; numbers of other models stay there",
    )
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per forward pass")
    cli.add_data_options(parser)
    cli.add_compute_options(parser, precision="fp32")
    args = parser.parse_args(argv)
    args.height, args.width = cli.image_size(args.height, args.width)
    return args


def contender(text: str) -> Contender:
    """An argparse type: NAME=CHECKPOINT=ATTACKER."""
    parts = text.split("=")
    if len(parts) != 3 or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=CHECKPOINT=ATTACKER")
    return Contender(parts[0], Path(parts[1]), Path(parts[2]))


def check_budgets(attackers: Sequence[Path], levels: Sequence[float]) -> None:
    """Raises UsageError for a budget of `levels` (in 1/255) beyond that with which an attacker file was learnt."""
    for path in attackers:
        threat = attacks.load(path).threat
        learnt = max(threat.eps_color, threat.eps_delta)
        if max(levels) / 255 > learnt + 1e-9:
            raise UsageError(
                f"--eps {format_budget(max(levels) / 255)} is beyond what {path} was learnt with, "
                f"{format_budget(learnt)} per component; "
                "learn it with a larger budget, or draw smaller ones"
            )


def curves(protocol: Protocol, path: Path, levels: Sequence[float], steps: int) -> dict[str, Any]:
    """mAP (fractions) at each budget of `levels` (in 1/255) of a model, with the attacker file that was learnt on it.

    That perturbation is projected into each budget; one learnt within that budget may be stronger. Returns noise_type,
    universal, pgd, and chance.
    """
    clean = protocol.score().ranking
    drawn: dict[str, Any] = {"noise_type": attacks.load(path).noise_type, UNIVERSAL: [], PGD: []}
    for eps in tqdm(levels, desc="budgets", leave=False, disable=None):
        noise = attacks.load(path, eps / 255).to(protocol.compute.device)
        for key, attack in ((UNIVERSAL, noise), (PGD, FeaturePGD(protocol.victim, eps / 255, steps))):
            drawn[key].append(protocol.score(attack).ranking.mAP if eps else clean.mAP)
    return drawn | {"chance": clean.chance_mAP}


def earlier_curves(numbers: Path, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The models in a file of numbers, by name; none where the settings differ, or a number is missing."""
    try:
        data = json.loads(numbers.read_text())
        if any(data[name] != value for name, value in settings.items()):
            return {}
        for model in data["models"].values():
            values = [model["noise_type"], model["chance"], *model[UNIVERSAL], *model[PGD]]
            lengths = {len(settings["eps"]), len(model[UNIVERSAL]), len(model[PGD])}
            if len(lengths) > 1 or not all(isinstance(value, int | float) for value in values):
                return {}
        return data["models"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def draw(data: Mapping[str, Any], path: Path, title: str) -> Path:
    """Draw a PNG of eps, steps, and models, each as `curves` gave it; dashed = PGD, dotted = chance."""
    figure = Figure(figsize=(9.6, 4.8), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    legend = []
    for (name, model), colour in zip(data["models"].items(), cycle(COLOURS)):
        for key, (dashes, marker, _) in STYLES.items():
            axes.plot(data["eps"], [100 * value for value in model[key]], dashes, marker=marker, color=colour, lw=2)
        axes.axhline(100 * model["chance"], linestyle=":", color="grey")
        legend.append(Line2D([], [], color=colour, lw=6, label=name))
    for dashes, marker, words in STYLES.values():
        label = words.format(steps=data["steps"])
        legend.append(Line2D([], [], color="black", linestyle=dashes, marker=marker, label=label))
    legend.append(Line2D([], [], color="grey", linestyle=":", label="chance: a random ranking"))
    figure.legend(handles=legend, loc="outside right upper", fontsize=9, handlelength=3.5, edgecolor="none")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("L-inf budget per component (1/255)")
    axes.set_ylabel("mAP (%)")
    axes.set_ylim(0, 100)
    axes.set_xticks(sorted(set(data["eps"])))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if any(model["noise_type"] == 0 for model in data["models"].values()):
        note = (
            "Universal, type 0: two components, colour and delta, so a pixel moves by up to twice the budget; PGD: one."
        )
        figure.supxlabel(note, fontsize=8, color="dimgrey", x=0.01, ha="left")
    return write_atomically(path, lambda to: figure.savefig(to, format="png", bbox_inches="tight", pad_inches=0.15))


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.out.suffix.lower() != ".png":
        raise UsageError(f"--out {args.out} must end in .png")
    if len({each.name for each in args.model}) < len(args.model):
        raise UsageError("two of --model have the same name; give each another")
    compute = set_up(resolve(args.device, args.precision))
    levels, attackers = sorted({round(255 * eps, 4) for eps in args.eps}), [each.attacker_file() for each in args.model]
    check_budgets(attackers, levels)
    samples = test_samples(dataset := datasets.create(args.dataset, args.data, split=args.split))
    settings = {
        "eps": levels,
        "steps": args.steps,
        "dataset": dataset.name,
        "data": str(Path(args.data).resolve()),
        "split": args.split,
        "images": fingerprint(*samples),
        "height": args.height,
        "width": args.width,
        "precision": compute.precision,
    }
    numbers = args.out.with_suffix(".json")
    known = earlier_curves(numbers, settings) if args.reuse else {}
    data: dict[str, Any] = settings | {"models": {}}
    for each, attacker in zip(args.model, attackers, strict=True):
        hashes = {"checkpoint_sha256": sha256(each.checkpoint), "attacker_sha256": sha256(attacker)}
        drawn = next((model for model in known.values() if hashes.items() <= model.items()), None)
        if drawn is None:
            victim = models.load_victim(each.checkpoint, size=(args.height, args.width)).to(compute.device)
            protocol = Protocol.of(victim, samples, args, compute, batch_size=args.batch_size)
            drawn = curves(protocol, attacker, levels, args.steps)
        data["models"][each.name] = drawn | hashes
    kept = data | {"models": data["models"] | {n: m for n, m in known.items() if n not in data["models"]}}
    write_atomically(numbers, lambda temporary: temporary.write_text(json.dumps(kept, indent=2) + "\n"))
    draw(data, args.out, f"mAP against the budget, {dataset.name}, perturbed: query")
    logger.info("the picture is %s, its numbers are in %s", args.out, numbers)


if __name__ == "__main__":
    cli.run(main)
