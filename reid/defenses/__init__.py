"""Defences: how a model is trained so that it withstands attacks. Adding one is a file and a line in the table.

    defense = DEFENSES["meta"](inner_order="second")

Nothing here needs torch before a defence is used, so that `metaDefense.py --help` can list all options at once.
"""

from reid.runtime.registry import Registry
from reid.training.defense import Defense

DEFENSES: Registry[type[Defense]] = Registry(
    "defence",
    {
        "none": ("reid.defenses.none:NoDefense", "clean images of the source alone: the baseline of the baselines"),
        "adversarial": ("reid.defenses.adversarial:Adversarial", "clean and perturbed images of the source"),
        "mixed": ("reid.defenses.mixed:Mixed", "clean and perturbed images of the source and of a virtual set"),
        "meta": ("reid.defenses.meta:Meta", "mixed, where the virtual loss is taken after a step on the source"),
        "fare": ("reid.defenses.fare:Fare", "label-free: features stay where the model had those of clean images"),
        "anchored": (
            "reid.defenses.anchored:Anchored",
            "fare, and nearest to where it had their own identity; attacks go toward the nearest other one",
        ),
        "trades": ("reid.defenses.trades:Trades", "clean images, and how far attacks move features from them"),
        "gallery": ("reid.defenses.gallery:Gallery", "clean and perturbed images; attacks rank the batch as a gallery"),
    },
)

__all__ = ["DEFENSES", "Defense"]
