"""Rows: what is measured on a model, one line of a result table each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from reid.attacks import controls
from reid.attacks.base import Attack
from reid.attacks.distortions import JPEG, Blur, EightBits
from reid.attacks.files import RELEASED_BUDGET, load
from reid.attacks.formats.png import is_png
from reid.attacks.image.linf import LInf
from reid.attacks.search.square import Square
from reid.attacks.specs import create
from reid.attacks.threat import Threat, format_budget
from reid.attacks.universal.perturbations import Perturbation
from reid.evaluation.kinds import CLEAN, CONTROL, UNIVERSAL
from reid.runtime.files import sha256


@dataclass(frozen=True)
class Row:
    """A name for people, one of KINDS, an attack (None: clean images), the hash of the file that it came from, and
    settings that tell it from others of its kind (plain values). `side` is the one that is attacked, None: the usual
    one; `queries` are the positions of those that ask, None: all; `declared` is what others say that their attack
    knows."""

    name: str
    kind: str
    attack: Attack | None = None
    sha256: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    side: str | None = None
    queries: tuple[int, ...] | None = None
    declared: tuple[str, ...] = ()

    @property
    def needs(self) -> list[str]:
        """What the attack knows, sorted."""
        return sorted({*self.declared, *(self.attack.knows if self.attack else ())})

    @property
    def provenance(self) -> dict[str, Any]:
        """What the file says about how the attack was made."""
        return self.attack.provenance if isinstance(self.attack, Perturbation) else {}


CLEAN_ROW = Row("clean", CLEAN)
DISTORTIONS = [  # what cameras and files do to images, without a budget
    Row(name, CONTROL, attack, settings={"control": name})
    for name, attack in {"8 bits": EightBits(), "JPEG 75": JPEG(75), "blur 3 x 3": Blur()}.items()
]


def file_rows(paths: Sequence[str], budgets: Sequence[float] = ()) -> list[Row]:
    """Perturbation files at each of the budgets per component, or at their own; named by their last folders."""
    return [
        Row("/".join(Path(path).parts[-3:]), UNIVERSAL, load(path, eps), sha256(path))
        for eps in budgets or (None,)
        for path in paths
    ]


def own_rows(paths: Sequence[str], budgets: Sequence[float]) -> list[Row]:
    """Perturbation files at their own budgets; pictures, which state none, at the largest of `budgets`."""
    return [row for path in paths for row in file_rows([path], [max(budgets)] if is_png(Path(path)) else ())]


def threats_of(rows: Sequence[Row], budgets: Sequence[float] = ()) -> list[tuple[int, Threat]]:
    """(noise type, threat) of each universal perturbation among the rows, once; without one: type 0 at each budget."""
    perturbations = [row.attack for row in rows if isinstance(row.attack, Perturbation)]
    threats = sorted({(each.noise_type, each.threat) for each in perturbations}, key=str)
    return threats or [(0, Threat(eps, eps)) for eps in budgets or (RELEASED_BUDGET,)]


def image_rows(specs: Sequence[str], threats: Sequence[tuple[int, Threat]], steps: int, seed: int) -> list[Row]:
    """Attacks on each image by their specs, such as "pgd:restarts=3" or "square", at the component budget of each
    threat, or at one of their own.

    "pgd" takes `steps` steps where the spec does not say how many; other attacks have a number of their own.
    """
    rows: list[Row] = []
    for spec in specs:
        name = spec.partition(":")[0]
        settings = {"seed": seed} | ({"steps": steps} if name == "pgd" else {})
        for eps in sorted({threat.eps_component for _, threat in threats}):
            row = image_row(name, create(spec, eps=eps, **settings), seed)
            rows += [row] * (row not in rows)
    return rows


def image_row(name: str, attack: LInf | Square, seed: int) -> Row:
    """An attack on each image, of IMAGE or SEARCH by this name, in a run of this seed."""
    stated = ("eps", "seed") if attack.seed == seed else ("eps",)  # what results state elsewhere
    options = {each.name: getattr(attack, each.name) for each in fields(attack) if each.name not in stated}
    words = f"{name} {format_budget(attack.eps)}, {attack.effort}"
    return Row(words, attack.kind, attack, settings={"attack": name, **options})


def control_rows(threats: Sequence[tuple[int, Threat]], seed: int, height: int, width: int) -> list[Row]:
    """Random perturbations at the border of each budget: what spending it without learning does.

    A component that a threat lacks gets the budget of the other.
    """
    rows = []
    for color, delta in sorted({(t.eps_color or t.eps_delta, t.eps_delta or t.eps_color) for _, t in threats}):
        budgets = "+".join(dict.fromkeys(format_budget(eps) for eps in (color, delta)))
        threat = Threat(color, delta)
        attacks = {
            "random sign": controls.random_sign(threat, seed, height, width),
            "random LUT": controls.random_lut(threat, seed),
            "random both": controls.random_both(threat, seed, height, width),
        }
        rows += [Row(f"{name} {budgets}", CONTROL, each, settings={"control": name}) for name, each in attacks.items()]
    return rows
