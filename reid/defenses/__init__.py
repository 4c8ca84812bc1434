"""Training of re-ID models: undefended, adversarial on one or two sets, and meta-learned."""

from reid.defenses.batches import TrainingSet
from reid.defenses.keeper import BEST_FILE
from reid.defenses.meta import DEFENSES, INNER_ORDERS
from reid.defenses.recipe import LOSSES, Recipe
from reid.defenses.train import Look, Selection, Trainer

__all__ = ["BEST_FILE", "DEFENSES", "INNER_ORDERS", "LOSSES", "Look", "Recipe", "Selection", "Trainer", "TrainingSet"]
