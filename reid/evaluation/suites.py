"""Suites: named, versioned lists of attacks with fixed settings. Adding one is a line in SUITES, or a plugin."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reid.attacks import IMAGE, RECIPES, SEARCH
from reid.errors import UsageError
from reid.evaluation.effort import Effort
from reid.runtime.cli import positive_int
from reid.runtime.options import add_options
from reid.runtime.registry import Registry


@dataclass(frozen=True)
class Universal:
    """A recipe (of RECIPES) of universal perturbations, learnt on the model for the `side` that it attacks, None: the
    one that the user says, at `scale` times the budget. `alone`: by "delta" or "color" alone, with the total budget of
    both. `warm`: it also starts from each perturbation that is given and the model was not trained on."""

    recipe: str
    side: str | None = None
    scale: float = 1.0
    alone: str = ""
    warm: bool = False


@dataclass(frozen=True)
class Each:
    """The spec of an attack on each image of a side, None: the one that the user says, at `scale` times the budget.

    Attacked are a `share` of the queries, or, if `standing`, those whose average precision is still above chance under
    the attacks of the same goal so far. A tenth of the queries is attacked again with `longer` times the steps, which
    tells whether the attack had converged.
    """

    spec: str
    side: str | None = None
    scale: float = 1.0
    share: float = 1.0
    standing: bool = False
    longer: tuple[int, ...] = ()


@dataclass(frozen=True)
class Suite:
    """What is run on a model next to the perturbation files that a user gives.

    `transfer` are specs of attacks that are made on each other model that is given, and `frozen` is a recipe of
    universal perturbations that are learnt on it, if there is one. `controls` are random perturbations at the same
    budget. `effort` fixes how hard recipes look (fields of Effort). A suite that `judges` has fixed settings,
    and ends with a verdict and a summary (see reid.evaluation.verdict).
    """

    universal: tuple[Universal, ...] = ()
    each: tuple[Each, ...] = ()
    transfer: tuple[str, ...] = ()
    frozen: str | None = None
    controls: bool = True
    effort: Mapping[str, Any] = field(default_factory=dict)
    judges: bool = False

    @property
    def attacks(self) -> bool:
        """Whether it has attacks that know the model, or search."""
        return bool(self.universal or self.each)

    def with_effort(self, effort: Effort) -> Effort:
        """The effort, with what the suite fixes. Raises UsageError for a fixed option that was given another value."""
        for name in self.effort:
            if getattr(effort, name) != getattr(Effort(), name):
                raise UsageError(f"the suite fixes --{name.replace('_', '-')}; leave it out")
        return replace(effort, **self.effort)

    @property
    def recipes(self) -> list[str]:
        """The names of its recipes, once."""
        return list(dict.fromkeys(entry.recipe for entry in self.universal))


GIVEN = Suite()
ADAPTIVE = Suite((Universal("none"),), (Each("pgd"),))
SMOKE = Suite(
    universal=(Universal("nearest", "query", warm=True),),
    each=(
        Each("cosine:steps=15,restarts=1", "query"),
        Each("smooth-ap:steps=15,restarts=1", "query"),
        Each("square:calls=100", "query", share=0.1),
    ),
    effort={"restarts": 1, "adaptive_epochs": 6, "adaptive_iters": None},
    judges=True,
)
UNIVERSAL = Suite(
    universal=(
        Universal("nearest", "query", warm=True),
        *(Universal(recipe, "query") for recipe in ("cosine", "hinge", "collapse", "smooth_ap")),
        Universal("nearest", "query", alone="delta", warm=True),
        Universal("cosine", "query", alone="delta"),
        Universal("nearest", "query", scale=0.5),
        Universal("nearest", "query", scale=0.5, alone="delta"),
        Universal("nearest", "gallery", warm=True),
        Universal("cosine", "gallery"),
        Universal("nearest", "both", warm=True),
        Universal("collapse", "both"),
        Universal("query_uap", "query"),
    ),
    frozen="nearest",
    effort={"restarts": 3, "adaptive_epochs": 12, "adaptive_iters": None},
    judges=True,
)
FAST = Suite(
    universal=(
        Universal("nearest", "query", warm=True),
        Universal("nearest", "query", alone="delta"),
        Universal("nearest", "gallery"),
        Universal("nearest", "both"),
    ),
    each=(
        Each("cosine:steps=50,restarts=1", "query", longer=(2,)),
        *(Each(name, "query", standing=True) for name in ("fna", "nearest:steps=50,restarts=1", "lta")),
        Each("smooth-ap:steps=30,restarts=1", "query", longer=(2,)),
        Each("fgsm", "query"),
        *(Each(f"{name}:steps=15,restarts=1", "gallery") for name in ("cosine", "margin")),
        Each("margin:steps=15,restarts=1", "both"),
        Each("smooth-ap:steps=15,restarts=1", "query", scale=4.0, share=0.1),
        Each("square:calls=1600", "query", share=0.1),
    ),
    transfer=("cosine:steps=15,restarts=1", "smooth-ap:steps=15,restarts=1"),
    effort={"restarts": 1, "adaptive_epochs": 6, "adaptive_iters": None},
    judges=True,
)
STANDARD = Suite(
    universal=UNIVERSAL.universal,
    each=(
        Each("cosine:steps=100,restarts=5", "query", longer=(2, 4)),
        Each("farthest:steps=50,restarts=1", "query", standing=True),
        Each("nearest:steps=50,restarts=1", "query", standing=True),
        Each("pgd:steps=50,restarts=5", "query", standing=True),
        *(Each(name, "query", standing=True) for name in ("fna", "sma", "odfa", "lta")),
        Each("smooth-ap:steps=100,restarts=5", "query", longer=(2, 4)),
        Each("fgsm", "query"),
        Each("margin:steps=50,restarts=1", "query", standing=True),
        *(Each(name, "query", standing=True) for name in ("fna-gallery", "i-fgsm", "mi-fgsm")),
        *(Each(f"{name}:steps=50,restarts=1", "gallery") for name in ("cosine", "farthest", "nearest")),
        *(Each(f"{name}:steps=50,restarts=1", "gallery") for name in ("margin", "smooth-ap")),
        *(Each(f"{name}:steps=50,restarts=1", "both") for name in ("cosine", "margin", "smooth-ap")),
        Each("smooth-ap:steps=50,restarts=1", "query", scale=4.0, share=0.1),
        Each("square:calls=1600", "query", share=0.1),
    ),
    transfer=("cosine:steps=50,restarts=1", "smooth-ap:steps=50,restarts=1"),
    frozen=UNIVERSAL.frozen,
    effort=UNIVERSAL.effort,
    judges=True,
)

SUITES: Registry[Suite] = Registry(
    "suite",
    {
        "given": (f"{__name__}:GIVEN", "the files of --attack, and random controls at their budgets"),
        "adaptive": (f"{__name__}:ADAPTIVE", "given, and attacks that know the model: re-learnt perturbations and PGD"),
        "reid-smoke-v1": (f"{__name__}:SMOKE", "the strongest attack of each kind, briefly"),
        "reid-fast-v1": (f"{__name__}:FAST", "each side and kind of attack, in minutes"),
        "reid-universal-v1": (f"{__name__}:UNIVERSAL", "universal perturbations by all objectives, on each side"),
        "reid-standard-v1": (f"{__name__}:STANDARD", "the verdict: all attacks, long enough to converge"),
    },
)


def customised(
    name: str,
    recipes: Sequence[str] = (),
    image: Sequence[str] = (),
    equal_total: bool = False,
    warm: bool = False,
    virtual: str | None = None,
    transfer: bool = False,
    side: str = "query",
) -> Suite:
    """The suite of a name with these recipes and attacks on each image in place of its own. `equal_total` adds delta
    alone for each recipe, `transfer` makes attacks on each image on other models too; `warm`: there are perturbations
    to start from; `virtual` is the virtual dataset, `side` the one that is attacked.

    Raises UsageError for a suite whose attacks are fixed, where there is nothing to add to, and for a recipe that needs
    a virtual dataset where there is none.
    """
    suite = SUITES[name]
    if suite.judges and (recipes or image or equal_total or virtual or side != "query"):
        words = f"--suite {name} has fixed attacks"
        raise UsageError(f"{words}; leave --recipe, --image-attack, --equal-total, --side and -m out, or --suite")
    if not suite.judges:
        suite = _with(suite, recipes, image, equal_total)
    if (equal_total or warm) and not suite.universal:
        raise UsageError("--equal-total and --warm-start are for re-learning; give a --recipe, or leave them out")
    if transfer and not (suite.transfer or suite.frozen):
        problem = f"--transfer-from: --suite {name} makes no attacks on other models"
        raise UsageError(f"{problem}; give {'another --suite' if suite.judges else '--image-attack'}")
    if transfer and side != "query":
        raise UsageError("--transfer-from attacks queries; leave --side out")
    for recipe in suite.recipes:
        if virtual is None and RECIPES[recipe].needs_virtual:
            raise UsageError(f"--recipe {recipe} needs a virtual dataset: give -m, for example -m personx")
    return suite


def _with(suite: Suite, recipes: Sequence[str], image: Sequence[str], equal_total: bool) -> Suite:
    universal = tuple(Universal(recipe) for recipe in dict.fromkeys(recipes)) or suite.universal
    alone = tuple(replace(entry, alone="delta") for entry in universal if equal_total)
    each = tuple(Each(spec) for spec in dict.fromkeys(image)) or suite.each
    return replace(suite, universal=universal + alone, each=each, transfer=tuple(entry.spec for entry in each))


def add_attack_options(parser: argparse.ArgumentParser) -> None:
    """Which attacks that know the model are wanted, and how hard to look: what `customised` and Effort take."""
    group = parser.add_argument_group("attacks that know the model")
    add = group.add_argument
    suites = "what is measured: " + "; ".join(f"{name}: {SUITES.summary(name)}" for name in SUITES)
    add("--suite", choices=list(SUITES), default="given", help=suites)
    add("--adaptive", action="store_const", const="adaptive", dest="suite", help="--suite adaptive")
    recipes = "how to re-learn perturbations (default: as the suite says)"
    add("--recipe", nargs="+", choices=list(RECIPES), default=[], help=recipes)
    image = f"attacks on each image: {', '.join([*IMAGE, *SEARCH])}; such as pgd:steps=50 (default: as the suite says)"
    add("--image-attack", nargs="+", default=[], metavar="NAME[:SETTING=VALUE,...]", help=image)
    others = "other models: attacks on each image are made on them too, and shown to this one"
    add("--transfer-from", nargs="+", default=[], metavar="SPEC", help=others)
    add("--learn-on", metavar="NAME", help="dataset whose training images attacks know (default: -d)")
    add("-m", "--mte", metavar="NAME", help="virtual dataset, for a --recipe that needs one")
    total = "re-learn delta alone too, at the total budget of colour and delta together"
    add("--equal-total", action="store_true", help=total)
    add_options(group, Effort)
    steps = "steps of pgd, unless --image-attack sets its steps"
    add("--pgd-steps", type=positive_int, default=15, help=steps)
