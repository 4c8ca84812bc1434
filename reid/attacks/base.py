"""What an attack is: it changes images within a budget, and says what it must know to do so."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from reid.attacks.threat import Threat
from reid.errors import ReidError, UsageError
from reid.models.victim import Passes, Victim
from reid.runtime.device import send

NEEDS = ("gradients", "labels", "reference", "training", "scores")
TOLERANCE = 1e-6
HALF_LEVEL = 0.5 / 255


@dataclass(frozen=True)
class Reference:
    """What an attack may know of other images: clean features (G, D), on the victim's device, pids and camids (G,)."""

    features: Tensor
    pids: Tensor
    camids: Tensor

    @cached_property
    def middle(self) -> Tensor:
        """The mean feature (D,)."""
        return self.features.mean(dim=0)

    @cached_property
    def centres(self) -> tuple[Tensor, Tensor]:
        """The pids (P,), sorted, on the CPU, and the mean feature of each (P, D), differentiably."""
        device = self.features.device
        pids, places = self.pids.cpu().unique(return_inverse=True)
        sums = self.features.new_zeros(len(pids), self.features.shape[1])
        sums = sums.index_add(0, send(places, device), self.features)
        return pids, sums / send(places.bincount(), device)[:, None]

    @cached_property
    def identities(self) -> Tensor:
        """The mean feature of each identity (P, D), in the order of their pids, without junk."""
        pids, means = self.centres
        return means[send(pids != -1, means.device)]


@dataclass(frozen=True)
class AttackBatch:
    """Images (N, 3, H, W) in [0, 1] to attack; their pids, camids and positions in their set (N,), on the CPU.

    `reference` are the images of the other side, query or gallery, `training` a training set. `side` is theirs.
    """

    images: Tensor
    pids: Tensor | None = None
    camids: Tensor | None = None
    places: Tensor | None = None
    reference: Reference | None = None
    training: Reference | None = None
    side: str = "query"


class Attacked(NamedTuple):
    """The attacked images (N, 3, H, W), what was spent on them (L-inf in [0, 1], by component), and the passes that it
    took."""

    images: Tensor
    spent: dict[str, float]
    passes: Passes = Passes()


class Attack(ABC):
    """Changes images within `threat`. `kind` is universal, image, search or control; without what it `needs` (of NEEDS)
    it cannot work. `noise_type` is 0, 1 or 2 for a universal perturbation, and None for other attacks."""

    threat: Threat
    kind: str
    needs: frozenset[str] = frozenset()
    noise_type: int | None = None
    others: tuple[Victim, ...] = ()  # models that it asks besides the victim

    @property
    def knows(self) -> frozenset[str]:
        """What it must know of whichever model it is made on."""
        return self.needs

    @abstractmethod
    def attack(self, victim: Victim, batch: AttackBatch) -> Attacked:
        """The attacked images of a batch; `perform` checks what comes back."""


def perform(attack: Attack, victim: Victim, batch: AttackBatch) -> Attacked:
    """`attack.attack(victim, batch)`, with its budget, the range of its images and its passes measured here.

    `spent` is completed as by `spent_on`. Raises UsageError for images that are not in [0, 1], and when the batch or
    the victim lacks what the attack needs, ReidError when the attack returned other images than it may.
    """
    _check_needs(attack, victim, batch)
    before = _passes(victim, *attack.others)
    victim.check(batch.images)
    images, components, _ = attack.attack(victim, batch)
    images = images.detach()
    if images.shape != batch.images.shape:
        raise ReidError(f"the attack returned images {tuple(images.shape)} for {tuple(batch.images.shape)}")
    low, high = (value.item() for value in images.aminmax())
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise ReidError(f"the attack returned images in [{low:.4g}, {high:.4g}], not in [0, 1]; no score was computed")
    spent = spent_on(batch.images, images, components)
    if excess := beyond(spent, attack.threat):
        raise ReidError(f"the attack left its budget: {'; '.join(excess)}; no score was computed")
    return Attacked(images, spent, _passes(victim, *attack.others) - before)


def _passes(*victims: Victim) -> Passes:
    return sum((victim.passes for victim in victims), Passes())


def spent_on(images: Tensor, attacked: Tensor, components: dict[str, float]) -> dict[str, float]:
    """L-inf in [0, 1] by "color" and "delta", as `components` say, in "total", and in "total_8bit": once the attacked
    images are rounded to 8 bits, which may add half a grey level."""
    total, rounded = linf(attacked, images), linf((attacked * 255).round() / 255, images)
    return {"color": 0.0, "delta": 0.0} | components | {"total": total, "total_8bit": rounded}


def beyond(spent: dict[str, float], threat: Threat) -> list[str]:
    """The components that went beyond `threat`, in words."""
    bounds = {"color": threat.eps_color, "delta": threat.eps_delta, "total": threat.eps_total}
    bounds["total_8bit"] = threat.eps_total + HALF_LEVEL
    return [
        f"{name} spent {spent[name] * 255:.3f}/255 of {bound * 255:.3f}/255"
        for name, bound in bounds.items()
        if not spent[name] <= bound + TOLERANCE
    ]


def in_8_bits(images: Tensor, clean: Tensor, eps: float) -> Tensor:
    """The nearest images of whole grey levels within `eps` of the clean ones; a pixel for which there is no such level
    stays clean."""
    white = torch.full((), 255.0, device=images.device)  # by a number, CUDA would multiply by a rounded 1/255
    lowest = ((clean - eps) * white - 255 * TOLERANCE).ceil().clamp(min=0)
    highest = ((clean + eps) * white + 255 * TOLERANCE).floor().clamp(max=255)
    levels = torch.minimum(torch.maximum((images * white).round(), lowest), highest)
    return torch.where(lowest <= highest, levels / white, clean)


def linf(a: Tensor, b: Tensor) -> float:
    """The largest difference between two tensors."""
    return (a - b).abs().max().item()


def _check_needs(attack: Attack, victim: Victim, batch: AttackBatch) -> None:
    name = type(attack).__name__
    if unknown := attack.needs - {*NEEDS}:
        raise UsageError(f"the attack {name} needs {', '.join(sorted(unknown))}, which is none of {', '.join(NEEDS)}")
    lacks = {
        "labels": batch.pids is None,
        "reference": batch.reference is None,
        "training": batch.training is None,
        "gradients": "gradients" in attack.needs and not victim.differentiable,
    }
    if missing := ", ".join(need for need in sorted(attack.needs) if lacks.get(need)):
        raise UsageError(
            f"the attack {name} needs {missing}, which this model or these images do not give; use one that does not"
        )
