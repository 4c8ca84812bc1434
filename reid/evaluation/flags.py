"""Flags: what makes a verdict doubtful. Each says when it is raised, what that means, and what to do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Any

from reid.attacks.threat import format_budget
from reid.evaluation.convergence import optimality
from reid.evaluation.figures import away
from reid.evaluation.goals import GOALS, same_budget
from reid.evaluation.kinds import CONTROL, IMAGE, RELEARNT, SEARCH, TRANSFER
from reid.evaluation.measured import Measured, gap
from reid.evaluation.verdict import Judgement

MARGIN = 0.02  # mAP up to which two attacks count as equal
APART = 0.05  # mAP by which several starts of one attack may differ
LARGE = 32 / 255  # a budget at which no model stands
NEAR_CHANCE = 0.05  # mAP above that of a random ranking
RANDOM = ("random sign", "random LUT", "random both")
LEARNT = [goal for goal in GOALS if goal not in ("frozen", "met")]  # of attacks that are made for the model and budget


@dataclass(frozen=True)
class Flag:
    """`found` looks at a judgement and gives the details, one for each time that the flag is raised."""

    name: str
    when: str
    means: str
    remedy: str
    found: Callable[[Judgement], Iterator[str]]


def raised(judgement: Judgement) -> list[dict[str, Any]]:
    """The flags of a judgement, as plain values."""
    return [
        {"name": flag.name, "detail": detail, "means": flag.means, "do": flag.remedy}
        for flag in FLAGS
        for detail in flag.found(judgement)
    ]


def _white(judgement: Judgement) -> list[Measured]:
    """Attacks with gradients on each query."""
    return [each for each in judgement.of("image_gallery") if each.kind == IMAGE]


def _noise(judgement: Judgement) -> list[Measured]:
    """Random perturbations of queries."""
    return [
        each
        for each in judgement.measured
        if each.kind == CONTROL
        and each.settings.get("control") in RANDOM
        and each.result.protocol["side"] == "query"
        and same_budget(each.eps, judgement.eps)
    ]


def _weaker(judgement: Judgement, kind: str) -> Iterator[str]:
    others = [each for each in judgement.of("image_gallery") if each.kind == kind]
    if (lead := gap(_white(judgement), others)) > MARGIN:
        yield f"{kind} leaves {100 * lead:.1f} points of mAP less on the same queries"


def _search_stronger(judgement: Judgement) -> Iterator[str]:
    yield from _weaker(judgement, SEARCH)
    if (lead := gap(judgement.only("universal"), judgement.only("search_universal"))) > MARGIN:
        yield f"one perturbation for all, found by scores, leaves {100 * lead:.1f} points of mAP less"


def _universal_stronger(judgement: Judgement) -> Iterator[str]:
    learnt = [each for each in judgement.measured if each.kind == RELEARNT and each.result.protocol["side"] == "query"]
    for total in sorted({each.total for each in learnt}):
        universal = [each for each in learnt if same_budget(each.total, total)]
        image = [e for e in judgement.measured if e.goal in ("image", "image_gallery") and same_budget(e.total, total)]
        if (lead := gap(image, universal)) > MARGIN:
            yield f"at {format_budget(total)} in all by {100 * lead:.1f} points of mAP"


def _single_step_stronger(judgement: Judgement) -> Iterator[str]:
    for goal in ("image", "image_gallery"):
        tried = judgement.only(goal)
        single, many = ([each for each in tried if (each.settings.get("steps") == 1) is one] for one in (True, False))
        if (lead := gap(many, single)) > MARGIN:
            yield f"{single[0].name} leaves {100 * lead:.1f} points of mAP less than all attacks of many steps"


def _noise_as_strong(judgement: Judgement) -> Iterator[str]:
    if judgement.eps == 0:
        return
    for goal in ("universal", "image", "image_gallery"):
        attacks = judgement.only(goal)
        total = max((each.total for each in attacks), default=0.0)
        noise = [each for each in _noise(judgement) if each.total <= total + 1e-9]
        if gap(attacks, noise) > -MARGIN:
            yield f"random perturbations cost as much as {GOALS[goal]}"


def _not_falling(judgement: Judgement) -> Iterator[str]:
    budgets = sorted({each.eps for each in judgement.measured if each.goal})
    for goal in LEARNT:
        for less, more in pairwise(eps for eps in budgets if judgement.worst(goal, eps)):
            rise = -gap(judgement.of(goal, less), judgement.of(goal, more))
            if rise > MARGIN:
                words = f"from {format_budget(less)} to {format_budget(more)}"
                yield f"{GOALS[goal]}: mAP rises by {100 * rise:.1f} points {words}"


def _not_at_chance(judgement: Judgement) -> Iterator[str]:
    large = [each for each in judgement.measured if each.goal == "image_gallery" and each.eps >= LARGE - 1e-9]
    if large and (best := min(large, key=attrgetter("mAP"))).mAP > judgement.chance + NEAR_CHANCE:
        yield f"mAP {100 * best.mAP:.1f} is left at {format_budget(best.eps)}; chance is {100 * judgement.chance:.1f}"


def _collapsed(judgement: Judgement) -> Iterator[str]:
    if judgement.clean.result.metrics.get("collapsed"):
        yield "features of clean images hardly differ"


def _no_gradients(judgement: Judgement) -> Iterator[str]:
    if not judgement.traits.differentiable:
        yield "gradients are missing, zero or not finite"


def _not_repeated(judgement: Judgement) -> Iterator[str]:
    if not judgement.traits.repeats:
        yield "the same images give other features each time"


def _reading_close(judgement: Judgement) -> Iterator[str]:
    if judgement.traits.close:
        yield f"as good: {', '.join(judgement.traits.close)}"


def _away_from_known(judgement: Judgement) -> Iterator[str]:
    return away(judgement.clean.result, judgement.clean.precision, judgement.pids)


def _not_converged(judgement: Judgement) -> Iterator[str]:
    for row in optimality(judgement.measured):
        values = list(row["mAP"].items())
        for (few, before), (many, after) in pairwise(values):
            if before - after > MARGIN:
                yield f"{row['attack']}: {many} the steps leave {100 * (before - after):.1f} points less than {few}"
    for goal in GOALS:
        learnt: dict[str, list[Measured]] = {}
        for each in judgement.only(goal):
            if each.kind == RELEARNT:
                learnt.setdefault(f"{each.result.attack['noise_type']} {each.result.threat}", []).append(each)
        for attacks in learnt.values():
            yield from _unconfirmed(goal, sorted(attacks, key=attrgetter("mAP")))


def _unconfirmed(goal: str, learnt: Sequence[Measured]) -> Iterator[str]:
    """Universal perturbations of one kind and budget, the strongest first: doubtful is one that no converged search
    comes near, and a start that beats all others, of other recipes too."""
    best, *others = learnt
    near = [each for each in learnt if each.mAP <= best.mAP + MARGIN]
    if all(_unfinished(each) for each in near):
        yield f"{best.name}: {_unfinished(best)}"
    recipe = best.settings.get("recipe")
    if any(each.settings.get("recipe") == recipe for each in others) and others[0].mAP - best.mAP > APART:
        left = f"the best start leaves {100 * best.mAP:.1f}, the next {100 * others[0].mAP:.1f}"
        yield f"{GOALS[goal]}, {recipe}: {left}"


def _unfinished(each: Measured) -> str:
    """Why its search had not converged, in words; empty where it had."""
    failed = (check["detail"] for check in each.result.checks if check["name"] == "converged" and not check["passed"])
    return next(failed, "")


FLAGS: Sequence[Flag] = (
    Flag(
        "white box weaker than search",
        "a search that sees scores alone leaves 2 points of mAP less than all attacks with gradients",
        "gradients mislead, or the attacks that use them are weak: the model hides more than it withstands",
        "trust the search; attack with another objective, more steps and starts",
        _search_stronger,
    ),
    Flag(
        "white box weaker than transfer",
        "images made on another model leave 2 points of mAP less than all attacks on this one",
        "gradients of this model mislead: they are masked",
        "trust the transfer; attack through the other model, or a smooth copy of this one",
        lambda judgement: _weaker(judgement, TRANSFER),
    ),
    Flag(
        "universal stronger than one per image",
        "with the same total budget, one perturbation for all leaves 2 points of mAP less than one for each image",
        "the attacks on each image are weak: they could have used that very perturbation",
        "raise their steps and starts",
        _universal_stronger,
    ),
    Flag(
        "one step stronger than many",
        "an attack of a single step leaves 2 points of mAP less than all of many steps",
        "steps lead astray: gradients are masked, or change from one call to the next",
        "look at whether features repeat; average gradients over several calls",
        _single_step_stronger,
    ),
    Flag(
        "noise as strong as the attack",
        "random perturbations that may change no more in all leave at most 2 points of mAP more than the attacks",
        "nothing was learnt, or the model falls to any change, or to none of this size",
        "look at the clean mAP, the preprocessing and the gradients",
        _noise_as_strong,
    ),
    Flag(
        "mAP does not fall with the budget",
        "attacks that were made with a larger budget leave 2 points of mAP more",
        "the attacks at the larger budget had not converged, or gradients are masked",
        "raise their steps and starts",
        _not_falling,
    ),
    Flag(
        "not at chance at 32/255",
        "an attack that knows the gallery leaves 5 points of mAP more than a random ranking at 32/255",
        "no model withstands that much: the attack does not find what is there",
        "distrust all numbers with gradients; attack another way",
        _not_at_chance,
    ),
    Flag(
        "collapsed features",
        "features of one side hardly differ",
        "the order of the ranking means little, clean and attacked",
        "look at the preprocessing: python -m reid.models.detective",
        _collapsed,
    ),
    Flag(
        "no gradients",
        "gradients do not reach images, or are zero or not finite",
        "attacks with gradients say nothing; search and transfer alone do",
        "give the model in a form that has gradients (docs/bring-your-model.md)",
        _no_gradients,
    ),
    Flag(
        "features do not repeat",
        "the same images give other features when they are asked for again",
        "a random defence: single gradients and single scores mislead",
        "attack the mean over many calls; fix the seed of the model to compare scores",
        _not_repeated,
    ),
    Flag(
        "preprocessing was a close choice",
        "another reading of images gives as good a clean mAP within the interval",
        "all scores may be those of a model that is given images the wrong way",
        "name the right one as --preprocessing",
        _reading_close,
    ),
    Flag(
        "clean mAP away from the published one",
        "the zoo has a clean mAP of this model on this dataset, and the one here is off by more than the interval",
        "model, images or protocol are not what that figure is of, so no other score is comparable either",
        "compare preprocessing, size and dataset with python -m reid.models.zoo",
        _away_from_known,
    ),
    Flag(
        "not converged",
        "more steps leave 2 points of mAP less on a tenth of the queries; or no converged search for a universal one "
        "comes within 2 points of the strongest, or no other start within 5",
        "a longer attack would find more: the model is weaker than the numbers say",
        "raise the steps, or the suite: reid-standard-v1",
        _not_converged,
    ),
)
