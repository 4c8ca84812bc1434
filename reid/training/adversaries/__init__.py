"""Adversaries: what perturbs images of training batches. Adding one is a file and a line in the table.

    chosen = AdversaryOptions(attacker=("online", "pgd"))
    adversary = chosen.adversary(model, chosen.perturbations(device), (256, 128), device)

The command line calls them attackers, as the released one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reid.attacks.universal import TYPE_NAMES
from reid.errors import UsageError
from reid.runtime import cli
from reid.runtime.budgets import format_budget
from reid.runtime.options import option
from reid.runtime.registry import Registry

if TYPE_CHECKING:
    import torch

    from reid.attacks import Attack, Perturbation
    from reid.models.network import Trainable
    from reid.training.adversaries.base import Adversary

ADVERSARIES: Registry[type[Adversary]] = Registry(
    "adversary",
    {
        "frozen": ("reid.training.adversaries.universal:Pool", "one perturbation file, which never changes"),
        "pool": ("reid.training.adversaries.universal:Pool", "several files, of which each batch draws one"),
        "online": ("reid.training.adversaries.universal:Online", "one perturbation, which learns as training goes on"),
        "online-delta": (
            "reid.training.adversaries.universal:OnlineDelta",
            "the same, delta alone at the total budget of colour and delta",
        ),
        "pgd": ("reid.training.adversaries.per_image:PerImage", "PGD on each image"),
    },
)
FROM_FILES = ("frozen", "pool")
IN_TRAINING = ("online", "online-delta")
OBJECTIVES = ("loss", "nearest", "cosine", "smooth_ap")  # but for the first, of RECIPES


@dataclass(frozen=True)
class AdversaryOptions:
    """The adversaries of a training run, and the threat within which all of them stay."""

    attacker: Sequence[str] = option(
        ("frozen",),
        "what perturbs every second image of a batch, or several that share those: "
        + "; ".join(f"{name}: {ADVERSARIES.summary(name)}" for name in ADVERSARIES),
        nargs="+",
        choices=ADVERSARIES,
    )
    noise_path1: Sequence[str] = option(
        (),
        "perturbation files: one for frozen, any number for pool; other attackers only report on them",
        nargs="+",
        metavar="FILE",
        spelling="--noise_path1",
    )
    noise_type: int = option(
        0,
        "what frozen and online perturb: " + ", ".join(f"{number}: {words}" for number, words in TYPE_NAMES.items()),
        type=int,
        choices=tuple(TYPE_NAMES),
        spelling="--noise_type",
    )
    max_eps: float = option(
        8 / 255, "largest L-inf budget per component, such as 8/255 or 8", type=cli.positive_budget, metavar="BUDGET"
    )
    attack_objective: str | None = option(
        None,
        "where online and pgd drive features. loss: up the training loss (online), away from the clean feature (pgd); "
        "nearest: toward the nearest other identity; cosine: away from the clean feature, seen from the middle of all; "
        "smooth_ap: to the lowest average precision, the batch being the gallery (default: what the defence says)",
        choices=OBJECTIVES,
    )
    least_share: float = option(
        0.0,
        "least share of the budget that a perturbed image gets, from 0 to 1; each draws its own between that and all, "
        "larger ones more often; 1: all of it, always",
        type=cli.share,
        metavar="SHARE",
    )
    pgd_steps: int = option(4, "steps of --attacker pgd", type=cli.positive_int)

    def used(self, trains: bool, evaluates: bool) -> AdversaryOptions:
        """These options with the adversaries that a run uses alone: it trains on them, only evaluates, or does neither.

        Files are reported on anyway, and help to choose the best epoch. Raises UsageError where an adversary of files
        lacks them, or the frozen one has several; for online, where nothing is trained; for an objective of none.
        """
        if evaluates and not {*self.attacker}.isdisjoint(IN_TRAINING):
            raise UsageError("an online attacker lives in training only: give --evaluate files, with --attacker pool")
        if evaluates:
            return replace(self, attacker=[name for name in self.attacker if name not in FROM_FILES])
        if not trains:
            return replace(self, attacker=["pool"])
        if self.attack_objective and {*self.attacker} <= {*FROM_FILES}:
            problem = f"--attack-objective {self.attack_objective} drives nothing: files never change"
            raise UsageError(f"{problem}; add online, online-delta or pgd to --attacker")
        files = len(self.noise_path1)
        if "frozen" in self.attacker and files != 1:
            raise UsageError(f"--attacker frozen needs one file as --noise_path1, not {files}; pool takes several")
        if "pool" in self.attacker and not files:
            raise UsageError("--attacker pool needs files: give --noise_path1")
        return self

    def perturbations(self, device: torch.device) -> list[Perturbation]:
        """Those in the files. Raises UsageError for one with a budget of more than `max_eps` per component, and with
        a frozen adversary for one of another type than `noise_type`."""
        from reid import attacks

        perturbations = [attacks.load(path).to(device) for path in self.noise_path1]
        for path, noise in zip(self.noise_path1, perturbations, strict=True):
            if "frozen" in self.attacker and noise.noise_type != self.noise_type:
                raise UsageError(
                    f"{path} is of noise type {noise.noise_type}, not {self.noise_type}; "
                    f"give --noise_type {noise.noise_type}, or another file"
                )
            if noise.threat.eps_component > self.max_eps + 1e-9:
                raise UsageError(
                    f"{path} is another threat: {noise.threat.label}, which is more than --max-eps "
                    f"{format_budget(self.max_eps)}; raise --max-eps, or learn a perturbation within it"
                )
        return perturbations

    def named(self, perturbations: Sequence[Perturbation], adversary: Adversary) -> dict[str, Attack]:
        """What to report on after a run, by name: the perturbations in files, and what the adversary attacks with."""
        named: dict[str, Attack] = dict(zip(self.noise_path1, perturbations, strict=True))
        for attack in adversary.attacks():
            if attack not in perturbations:
                named["PGD" if attack.kind == "image" else f"online {attack.threat.budgets}"] = attack
        return named

    def adversary(
        self,
        model: Trainable,
        perturbations: Sequence[Perturbation],
        size: tuple[int, int],
        device: torch.device,
        seed: int = 0,
    ) -> Adversary:
        """The adversary of `model`, the one in training, on images of `size` (height, width)."""
        from reid.training.adversaries.base import Mixture, Setting

        members = [
            ADVERSARIES[name].of(Setting(self, model, perturbations, size, device, member_seed))
            for member_seed, name in enumerate(self.attacker, seed * len(self.attacker))
        ]
        adversary = members[0] if len(members) == 1 else Mixture(members)
        adversary.objective, adversary.least_share = self.attack_objective, self.least_share
        return adversary
