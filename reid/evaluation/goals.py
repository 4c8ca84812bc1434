"""Goals: what an attacker knows, and what it may change.

Nothing of two goals is mixed in one number, but for one rule: whoever knows more, or may change more images, can do all
that one who does not can (ALSO).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from reid.attacks.threat import Threat
from reid.evaluation.kinds import CLEAN, CONTROL, EXTERNAL, IMAGE, SEARCH, TRANSFER, UNIVERSAL

GOALS = {
    "universal": "queries, one perturbation for all, learnt on the model",
    "universal_equal_total": "the same by delta alone, at the total of both",
    "image": "queries, one by one, knowing model and training images",
    "image_gallery": "queries, one by one, knowing the gallery too",
    "gallery_side_universal": "gallery images, one perturbation for all",
    "gallery_side_model": "gallery images, one by one, knowing the model",
    "gallery_side": "gallery images, one by one, knowing the queries too",
    "both_sides_universal": "both sides, one perturbation for all",
    "both_sides_model": "both sides, one by one, knowing the model",
    "both_sides": "both sides, one by one, knowing the other side too",
    "transfer": "queries, one by one, made on other models",
    "transfer_gallery": "the same, knowing the gallery too",
    "search": "queries, one by one, by scores alone",
    "search_universal": "queries, one perturbation for all, by scores alone",
    "frozen": "perturbation files learnt on other models",
    "met": "perturbation files that the model was trained on",
}
# Goals of whoever has to choose one perturbation for all images: choosing another for each query would be an attack on
# each image, so the verdict on these is what the strongest leaves by itself.
ONE_FOR_ALL = frozenset(goal for goal in GOALS if "universal" in goal) | {"frozen", "met"}
# Whoever may do the first may do these too: knowing more, or changing more images, with the same budget for each.
ALSO: dict[str, tuple[str, ...]] = {"image": ("transfer",), "universal": ("search_universal",)}
ALSO["image_gallery"] = ("image", *ALSO["image"], "transfer_gallery", "search")
ALSO["gallery_side"] = ("gallery_side_model",)
ALSO["both_sides_universal"] = ("universal", *ALSO["universal"], "gallery_side_universal")
ALSO["both_sides_model"] = ("image", *ALSO["image"], "gallery_side_model")
ALSO["both_sides"] = ("both_sides_model", "gallery_side", "gallery_side_model", "image_gallery", *ALSO["image_gallery"])


def goal_of(kind: str, side: str, needs: Iterable[str]) -> str | None:
    """The goal of an attack that is made on the model itself, or on each image; None for what has none."""
    if kind in (CLEAN, CONTROL):
        return None
    informed = "reference" in needs
    if side != "query":
        level = "" if informed else "_model" if kind in (IMAGE, TRANSFER) else "_universal"
        return f"{'gallery_side' if side == 'gallery' else 'both_sides'}{level}"
    if kind in (IMAGE, TRANSFER):
        return f"{kind}_gallery" if informed else kind
    if kind == SEARCH:
        return SEARCH if informed else "search_universal"
    return "universal"


def goal_of_attack(attack: Mapping[str, Any], side: str, model: str | None) -> str | None:
    """The goal of an attack as a result has it, made on this side, on the model of this hash."""
    if attack.get("met"):
        return "met"
    needs = attack.get("needs", ())
    kind = _ours(attack, needs) if attack["kind"] == EXTERNAL else attack["kind"]
    if kind == UNIVERSAL and (attack.get("learnt_on") or "") != model:
        return "frozen"
    goal = goal_of(kind, side, needs)
    return "universal_equal_total" if goal in ("universal", "search_universal") and _has_equal_total(attack) else goal


def budget_of(attack: Mapping[str, Any], threat: Threat) -> float:
    """What an attack as a result has it is compared by: the budget of a component. Images that others give have no
    components: what they may change in all."""
    if attack["kind"] == EXTERNAL and attack["noise_type"] is None:
        return threat.eps_total
    return threat.eps_component / (2 if _has_equal_total(attack) else 1)


def _ours(attack: Mapping[str, Any], needs: Iterable[str]) -> str:
    """The kind of our own attacks that know, and may do, what one of others does."""
    if attack["noise_type"] is not None:
        return UNIVERSAL
    return SEARCH if {"scores", "reference"} <= {*needs} and "gradients" not in needs else IMAGE


def _has_equal_total(attack: Mapping[str, Any]) -> bool:
    return bool(attack.get("settings", {}).get("equal_total"))


def same_budget(first: float, second: float) -> bool:
    """Whether two budgets are equal, up to rounding."""
    return abs(first - second) < 1e-9
