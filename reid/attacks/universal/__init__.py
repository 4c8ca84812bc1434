"""Universal perturbations: what may change, one learning loop, and recipes by name.

Adding a recipe is a file here, or a plugin, and a line in RECIPES.
"""

from typing import TYPE_CHECKING

from reid.runtime.registry import Registry

if TYPE_CHECKING:
    from reid.attacks.universal.recipes import Recipe

TYPE_NAMES = {0: "colour + delta", 1: "colour", 2: "delta"}
RECIPES: Registry["Recipe"] = Registry(
    "universal recipe",
    {
        "maml": ("reid.attacks.universal.recipes:MAML", "virtual-guided meta-learning, as the paper describes it"),
        "alternating": ("reid.attacks.universal.recipes:ALTERNATING", "the released code, whose inner step stays"),
        "none": ("reid.attacks.universal.recipes:PLAIN", "no look-ahead: the plain universal attack"),
        "nearest": ("reid.attacks.universal.identities:NEAREST", "toward the nearest other identity"),
        "hinge": ("reid.attacks.universal.identities:HINGE", "toward the nearest strangers"),
        "cosine": ("reid.attacks.universal.identities:COSINE", "away from the clean feature, seen from the middle"),
        "collapse": ("reid.attacks.universal.identities:COLLAPSE", "all features to one point"),
    },
)
