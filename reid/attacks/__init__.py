"""Universal perturbations within a stated budget: learn them, keep them, compare them with random ones.

noise = attacks.create(0, eps_color=8/255, eps_delta=8/255), or attacks.load("best_perturbation4.pth"); then
x_adv = noise(x) for x (N, 3, H, W) in [0, 1].
"""

from reid.attacks import controls, objectives
from reid.attacks.files import load, save
from reid.attacks.optimiser import MISGD
from reid.attacks.perturbations import Perturbation, create
from reid.attacks.threat import Attack, Threat, format_budget, parse_budget

__all__ = [
    "MISGD",
    "Attack",
    "Perturbation",
    "Threat",
    "controls",
    "create",
    "format_budget",
    "load",
    "objectives",
    "parse_budget",
    "save",
]
