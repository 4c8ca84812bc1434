"""Suites: named lists of attacks with fixed settings. Adding one is a line in SUITES, or a plugin."""

from dataclasses import dataclass

from reid.runtime.registry import Registry


@dataclass(frozen=True)
class Suite:
    """What is run on a model next to the perturbation files that a user gives, for each of their threats.

    `recipes` re-learn perturbations on the model, `image` are specs of attacks on each image, `controls` random
    perturbations at the same budget.
    """

    recipes: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    controls: bool = True


GIVEN = Suite()
ADAPTIVE = Suite(recipes=("none",), image=("pgd",))

SUITES: Registry[Suite] = Registry(
    "suite",
    {
        "given": (f"{__name__}:GIVEN", "the files of --attack, and random controls at their budgets"),
        "adaptive": (f"{__name__}:ADAPTIVE", "given, and attacks that know the model: re-learnt perturbations and PGD"),
    },
)
