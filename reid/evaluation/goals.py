"""Goals: what an attacker knows, and what it may change.

Nothing of two goals is mixed in one number, but for one rule: whoever knows more, or may change more images, can do all
that one who does not can (ALSO).
"""

from collections.abc import Iterable

from reid.evaluation.rows import CLEAN, CONTROL, IMAGE, SEARCH, TRANSFER

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
