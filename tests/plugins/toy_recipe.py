"""A recipe outside this project, which makes everybody look alike, by Adam: --plugin tests/plugins/toy_recipe.py"""

import torch

from reid.attacks import RECIPES
from reid.attacks.universal.recipes import Recipe


def to_the_middle(clean, perturbed, pids):
    """Squared distance of perturbed features (N, D) to the mean of the clean ones."""
    return (perturbed - clean.mean(dim=0)).pow(2).sum(dim=1).mean()


RECIPES.register("toy", "pull all features to their middle")(Recipe(to_the_middle, optimizer=torch.optim.Adam))
