"""One model on the page: what its results say, as values, figures and pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np

from reid.attacks.threat import parse_budget
from reid.evaluation.goals import GOALS
from reid.evaluation.kinds import CLEAN, CONTROL
from reid.evaluation.measured import Measured
from reid.report import figures
from reid.report.album import Album
from reid.report.evidence import Subject

MOST = 400  # queries in a scatter plot
RANKS = 20  # of a CMC curve
SHORT = {  # goals as legends name them
    "universal": "universal",
    "universal_equal_total": "universal, delta alone",
    "image": "per image",
    "image_gallery": "per image, knows gallery",
    "gallery_side_universal": "gallery side, universal",
    "gallery_side_model": "gallery side, per image",
    "gallery_side": "gallery side, knows queries",
    "both_sides_universal": "both sides, universal",
    "both_sides_model": "both sides, per image",
    "both_sides": "both sides, knows all",
    "transfer": "transfer",
    "transfer_gallery": "transfer, knows gallery",
    "search": "search by scores",
    "search_universal": "universal, by scores",
    "frozen": "files from other models",
    "met": "files it was trained on",
}
CURVES = ("universal", "universal_equal_total", "image", "image_gallery", "gallery_side", "both_sides", "search")
KINDS = {
    "relearnt": "universal, learnt on it",
    "universal": "universal, from a file",
    "image": "per image",
    "transfer": "made on another model",
    "search": "by scores alone",
    "external": "submitted",
    "control": "control",
    "clean": "clean",
}


@dataclass(frozen=True)
class Found:
    """The verdict on a goal: mAP as a fraction, its 95 % interval (None: not known), the attack that alone leaves
    least, with its budget, how many queries were attacked of how many, and the command that made it."""

    mAP: float
    interval: Sequence[float] | None
    attack: str
    budget: str
    alone: float
    queries: int
    of: int
    command: str
    result: str


@dataclass(frozen=True, eq=False)
class Chapter:
    """One model as the page shows it, under that name. `place` is its number on the page."""

    subject: Subject
    name: str
    place: int
    album: Album

    @property
    def summary(self) -> dict[str, Any]:
        return self.subject.summary

    @property
    def victim(self) -> dict[str, Any]:
        return self.subject.clean.victim

    @property
    def measured(self) -> list[Measured]:
        return self.subject.judgement.measured

    @cached_property
    def found(self) -> dict[str, Found]:
        """By goal, in the order of GOALS."""
        summary, by_file = self.summary, {each.result.file_name: each for each in self.measured}
        found = {}
        for goal in GOALS:
            if (mAP := summary["worst"][goal]) is not None:
                strongest = summary["strongest"][goal]
                queries, of = summary["queries"][goal], summary["queries"]["clean"]
                best = by_file[strongest["result"]]
                command = best.result.command.replace(" --reuse", "")
                told = (strongest["attack"], best.threat.budgets, strongest["mAP"], queries, of, command)
                found[goal] = Found(mAP, summary["intervals"].get(goal), *told, strongest["result"])
        return found

    @cached_property
    def lowest(self) -> tuple[str, Found] | None:
        """The goal that leaves least, of those that all queries were attacked for, or of all."""
        whole = {goal: each for goal, each in self.found.items() if each.queries == each.of} or self.found
        return min(whole.items(), key=lambda item: item[1].mAP) if whole else None

    @property
    def num_people(self) -> int:
        """How many different people are looked for."""
        pids = self.subject.judgement.pids
        return len(np.unique(pids[pids >= 0]))

    @property
    def close(self) -> Sequence[str]:
        """Other readings of images that were as good."""
        return self.subject.judgement.traits.close

    @property
    def threats(self) -> list[str]:
        """What the attacks of the verdict may do, in words, each once."""
        judgement = self.subject.judgement
        return list(dict.fromkeys(each.threat.label for goal in self.found for each in judgement.only(goal)))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The table of all results, those of the strongest attacks first."""
        measured, others = (sorted(each, key=attrgetter("mAP")) for each in (self.measured, self.subject.others))
        return [_row(each, True) for each in measured] + [_row(each, False) for each in others]

    @cached_property
    def cmc(self) -> str:
        """Clean, and the verdict on each goal."""
        judgement = self.subject.judgement
        scores = {"clean": judgement.clean} | {SHORT[goal]: judgement.worst(goal) for goal in CURVES}
        ranks = np.arange(1, RANKS + 1)
        curves: dict[str, Any] = dict.fromkeys(scores, ((), ()))
        for words, score in scores.items():
            if score is not None:
                known = score.first[~np.isnan(score.first)]
                curves[words] = ranks, (known[:, None] <= ranks).mean(axis=0)
        return figures.lines(f"cmc{self.place}", curves, "rank", "CMC, %", steps=True)

    @cached_property
    def curve(self) -> str | None:
        """mAP by budget, where more than one was tried."""
        curve = self.summary["curve"]
        goals = [goal for goal in CURVES if sum(goal in row for row in curve.values()) > 1]
        if not goals:
            return None
        lines: dict[str, Any] = dict.fromkeys(("clean", *(SHORT[goal] for goal in CURVES)), ((), ()))
        for goal in goals:
            points = [(_levels(eps), row[goal]) for eps, row in curve.items() if goal in row]
            lines[SHORT[goal]] = tuple(zip(*[(0.0, self.summary["clean"]), *points], strict=True))
        return figures.lines(f"curve{self.place}", lines, "budget of a component, grey levels of 255", "mAP, %")

    @cached_property
    def optimality(self) -> str | None:
        """What more steps find, of attacks that were tried with more."""
        rows = self.summary["optimality"]
        curves = {
            row["attack"]: ([float(factor.rstrip("x")) for factor in row["mAP"]], list(row["mAP"].values()))
            for row in rows
        }
        return figures.lines(f"optimality{self.place}", curves, "times its steps", "mAP, %") if curves else None

    @cached_property
    def costs(self) -> str | None:
        """What attacks cost."""
        groups: dict[str, tuple[list[float], list[float]]] = {words: ([], []) for words in KINDS.values()}
        for each in self.measured:
            passes = sum(each.result.passes.get(key, 0) for key in ("forward", "backward"))
            if each.kind not in (CLEAN, CONTROL) and passes:
                images = {"query": "num_query", "gallery": "num_gallery"}
                count = sum(each.result.dataset[images[side]] for side in images if side in _sides(each))
                group = groups.setdefault(KINDS.get(each.kind, each.kind), ([], []))
                group[0].append(passes / count)
                group[1].append(each.mAP)
        return figures.costs(f"cost{self.place}", groups) if any(passes for passes, _ in groups.values()) else None

    @cached_property
    def people(self) -> list[dict[str, Any]]:
        """The queries of the scatter plots, with a picture where there is one, in the order of their places."""
        valid = np.flatnonzero(~np.isnan(self.subject.judgement.clean.precision))
        chosen = valid[np.linspace(0, len(valid) - 1, min(MOST, len(valid))).round().astype(int)]
        exhibit = self.subject.exhibit(self.subject.judgement.clean)
        known = {each["place"]: each for each in exhibit.content["people"]} if exhibit else {}
        people = []
        for place in chosen.tolist():
            each = known.get(place)
            image = self.album.add(exhibit.files[each["image"]]) if exhibit and each else ""
            people.append({"place": place, "file": each["file"] if each else f"query {place}", "image": image})
        return people

    @cached_property
    def scatters(self) -> dict[str, str]:
        """A scatter plot for each goal that all queries were attacked for."""
        judgement, places = self.subject.judgement, [each["place"] for each in self.people]
        plots = {}
        for goal, found in self.found.items():
            worst = judgement.worst(goal)
            if worst is not None and found.queries == found.of:
                before, after = judgement.clean.precision[places], worst.precision[places]
                plots[goal] = figures.scatter(f"scatter{self.place}-{goal}", before, after)
        return plots

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script looks up about queries."""
        judgement, places = self.subject.judgement, [each["place"] for each in self.people]
        goals = {}
        for goal in self.scatters:
            worst = judgement.worst(goal)
            assert worst is not None
            goals[goal] = {"ap": _rounded(worst.precision[places]), "rank": worst.first[places].astype(int).tolist()}
        clean = judgement.clean
        return {
            "ap": _rounded(clean.precision[places]),
            "rank": clean.first[places].astype(int).tolist(),
            "files": [each["file"] for each in self.people],
            "images": [each["image"] for each in self.people],
            "goals": goals,
        }


def _row(each: Measured, judged: bool) -> dict[str, Any]:
    result = each.result
    budget = "" if not result.threat or each.total >= 1 else each.threat.budgets
    ranks = result.metrics["cmc"]["market1501"]
    return {
        "name": each.name,
        "kind": KINDS.get(each.kind, each.kind),
        "goal": SHORT.get(each.goal or "", ""),
        "side": result.protocol.get("side", "") if result.threat else "",
        "budget": budget,
        "total": each.total if budget else 0.0,
        "spent": result.spent.get("total_8bit"),
        "mAP": result.metrics["mAP"],
        "rank1": ranks["1"],
        "rank10": ranks["10"],
        "detected": result.detector.get("found"),
        "queries": result.dataset["num_query"],
        "passes": sum(result.passes.get(key, 0) for key in ("forward", "backward")),
        "seconds": result.seconds,
        "failed": [check["name"] for check in result.checks if not check["passed"]],
        "judged": judged,
    }


def _sides(each: Measured) -> Iterator[str]:
    side = each.result.protocol["side"]
    yield from ("query", "gallery") if side == "both" else (side,)


def _levels(eps: str) -> float:
    return 255 * parse_budget(eps)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
