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
        "nearest": ("reid.attacks.universal.nearest:NEAREST", "toward the nearest other identity"),
        "scattered": ("reid.attacks.universal.scattered:SCATTERED", "nearest, and not all to the same images"),
        "hinge": ("reid.attacks.universal.hinge:HINGE", "toward the ten nearest strangers"),
        "smooth_ap": ("reid.attacks.universal.smooth_ap:SMOOTH_AP", "lowest average precision, made smooth"),
        "cosine": ("reid.attacks.universal.cosine:COSINE", "away from the clean feature, seen from the middle of all"),
        "collapse": ("reid.attacks.universal.collapse:COLLAPSE", "all features to one point"),
        "metaattack": ("reid.attacks.universal.metaattack:METAATTACK", "MetaAttack, AAAI 2021: clusters, by maml"),
        "uap_retrieval": ("reid.attacks.universal.uap_retrieval:UAP_RETRIEVAL", "UAP-Retrieval, ICCV 2019: clusters"),
        "muap": ("reid.attacks.universal.muap:MUAP", "MUAP, TIFS 2021: average precision by histograms"),
        "query_uap": ("reid.attacks.universal.query_uap:QUERY_UAP", "QueryUAP, PRCV 2022: by scores alone"),
    },
)
