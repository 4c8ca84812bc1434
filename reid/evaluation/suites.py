"""Suites: named lists of attacks with fixed settings. Adding one is a line in SUITES, or a plugin."""

from dataclasses import dataclass

from reid.runtime.registry import Registry


@dataclass(frozen=True)
class Suite:
    """What is run on a model next to the perturbation files that a user gives, for each of their threats.

    `recipes` are those with which perturbations are re-learnt on the model, `image` the specs of attacks on each image,
    `controls` whether random perturbations at the same budget are measured.
    """

    recipes: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    controls: bool = True


GIVEN = Suite()
ADAPTIVE = Suite(recipes=("none",), image=("pgd",))

SUITES: Registry[Suite] = Registry(
    "suite",
    {
        "given": ("reid.evaluation.suites:GIVEN", "the files of --attack, and random controls at their budgets"),
        "adaptive": (
            "reid.evaluation.suites:ADAPTIVE",
            "given, and attacks that know the model: re-learnt perturbations and PGD",
        ),
    },
)
