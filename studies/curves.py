"""mAP against the budget: each model under a perturbation learnt on it, and under PGD on each image."""

import json
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reid import attacks
from reid.attacks.image.pgd import PGD
from reid.attacks.threat import format_budget
from reid.errors import UsageError
from reid.evaluation.retrieval import Retrieval
from reid.runtime.files import write_atomically
from reid.runtime.progress import progress

UNIVERSAL, PER_IMAGE = "universal", "pgd"
STYLES: dict[str, tuple[Literal["-", "--"], str, str]] = {
    UNIVERSAL: ("-", "o", "universal, learnt on this model\nat its full budget, then clipped"),
    PER_IMAGE: ("--", "s", "PGD on each image, {steps} steps"),
}
TOTALS = {
    UNIVERSAL: "(type 0, colour + delta:\nin total twice the budget)",
    PER_IMAGE: "(in total the budget)",
}
COLOURS = ("#c1272d", "#0b5fa5", "#2e8b57", "#e08a00", "#7b3fa0")  # of the models, in order


def check_budgets(files: Sequence[Path], levels: Sequence[float]) -> None:
    """Raises UsageError for a budget of `levels` (in 1/255) beyond the one with which a perturbation was learnt."""
    for path in files:
        threat = attacks.load(path).threat
        learnt = threat.eps_component
        if max(levels) / 255 > learnt + 1e-9:
            raise UsageError(
                f"--eps {format_budget(max(levels) / 255)} is beyond what {path} was learnt with, "
                f"{format_budget(learnt)} per component; "
                "learn it with a larger budget, or draw smaller ones"
            )


def curves(retrieval: Retrieval, path: Path, levels: Sequence[float], steps: int) -> dict[str, Any]:
    """mAP (fractions) of a model at each budget of `levels` (in 1/255), with the perturbation file learnt on it.

    The perturbation is projected into each budget; one learnt within that budget may be stronger. Returns noise_type,
    universal, pgd, and chance.
    """
    clean = retrieval.score().ranking
    drawn: dict[str, Any] = {"noise_type": attacks.load(path).noise_type, UNIVERSAL: [], PER_IMAGE: []}
    for eps in progress(levels, len(levels), "budget"):
        noise = attacks.load(path, eps / 255).to(retrieval.compute.device)
        both = (UNIVERSAL, noise), (PER_IMAGE, PGD(eps=eps / 255, steps=steps))
        for key, attack in progress(both, 2, "", sizes=(1, 3 * steps), names=(UNIVERSAL, PER_IMAGE)):
            drawn[key].append(retrieval.score(attack).ranking.mAP if eps else clean.mAP)
    return drawn | {"chance": clean.chance_mAP}


def earlier_curves(numbers: Path, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The models in a file of numbers, by name; none where the settings differ, or a number is missing."""
    try:
        data = json.loads(numbers.read_text())
        if any(data[name] != value for name, value in settings.items()):
            return {}
        for model in data["models"].values():
            values = [model["noise_type"], model["chance"], *model[UNIVERSAL], *model[PER_IMAGE]]
            lengths = {len(settings["eps"]), len(model[UNIVERSAL]), len(model[PER_IMAGE])}
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
    has_type_0 = any(model["noise_type"] == 0 for model in data["models"].values())
    for key, (dashes, marker, words) in STYLES.items():
        label = words.format(steps=data["steps"]) + (f"\n{TOTALS[key]}" if has_type_0 else "")
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
    return write_atomically(path, lambda to: figure.savefig(to, format="png", bbox_inches="tight", pad_inches=0.15))
