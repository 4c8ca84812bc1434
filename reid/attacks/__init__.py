"""Attacks: whatever changes images within a stated budget.

noise = attacks.create(0, eps_color=8/255, eps_delta=8/255), or attacks.load("best_perturbation4.pth"); then
x_adv = noise(x) for x (N, 3, H, W) in [0, 1]. `names()` lists what there is of each kind.
"""

from typing import TYPE_CHECKING

from reid.attacks.image import IMAGE
from reid.attacks.search import SEARCH
from reid.attacks.universal import RECIPES
from reid.runtime.registry import lazy_exports

# ruff: noqa: F401 - what is imported for its types is exported by PLACES
if TYPE_CHECKING:
    from reid.attacks import controls
    from reid.attacks.base import Attack, AttackBatch, Attacked, Reference, perform
    from reid.attacks.files import load, save
    from reid.attacks.threat import Threat, format_budget, parse_budget
    from reid.attacks.universal import objectives
    from reid.attacks.universal.optimiser import MISGD
    from reid.attacks.universal.perturbations import Perturbation, create

PLACES = {
    "controls": "reid.attacks.controls",
    "objectives": "reid.attacks.universal.objectives",
    "Attack": "reid.attacks.base:Attack",
    "AttackBatch": "reid.attacks.base:AttackBatch",
    "Attacked": "reid.attacks.base:Attacked",
    "Reference": "reid.attacks.base:Reference",
    "perform": "reid.attacks.base:perform",
    "load": "reid.attacks.files:load",
    "save": "reid.attacks.files:save",
    "Threat": "reid.attacks.threat:Threat",
    "format_budget": "reid.attacks.threat:format_budget",
    "parse_budget": "reid.attacks.threat:parse_budget",
    "MISGD": "reid.attacks.universal.optimiser:MISGD",
    "Perturbation": "reid.attacks.universal.perturbations:Perturbation",
    "create": "reid.attacks.universal.perturbations:create",
}
__all__ = ["names", *PLACES]
__getattr__ = lazy_exports(__name__, PLACES)


def names() -> dict[str, list[str]]:
    """The names of all attacks, by kind."""
    controls = ["random_sign", "random_lut", "random_both", "eight_bits", "jpeg", "blur"]
    return {"universal": list(RECIPES), "image": list(IMAGE), "search": list(SEARCH), "control": controls}
