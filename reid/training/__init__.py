"""Training of re-ID models: undefended, adversarial on one or two sets, and meta-learned."""

from reid.training.batches import TrainingSet
from reid.training.gradients import DEFENSES, INNER_ORDERS
from reid.training.keeper import BEST_FILE
from reid.training.recipe import LOSSES, Recipe
from reid.training.trainer import Look, Selection, Trainer

__all__ = ["BEST_FILE", "DEFENSES", "INNER_ORDERS", "LOSSES", "Look", "Recipe", "Selection", "Trainer", "TrainingSet"]
