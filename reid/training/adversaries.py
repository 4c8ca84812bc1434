"""The attacker inside training: makes the perturbed half of each batch, in pixel space, at random budgets."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import torch
from torch import Generator, Tensor, nn

from reid import attacks
from reid.attacks import MISGD, Attack, Perturbation, format_budget
from reid.attacks.image_pgd import FeaturePGD, push_away
from reid.errors import UsageError
from reid.models import ReidModel
from reid.runtime import distributed
from reid.runtime.device import send
from reid.runtime.seeds import generator

ATTACKERS = ("frozen", "pool", "online", "pgd")


class Part(NamedTuple):
    """The images at hand as rows of a batch of `total`: whatever is drawn for each image is drawn for all of them, so
    that several processes, each with its share, draw what one would."""

    rows: Tensor
    total: int

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """This process's share of a batch, when it is `images`."""
        total = len(images) * distributed.size()
        return cls(distributed.share(torch.arange(total)), total)


class Attacker:
    """What all attackers share; this one has nothing to learn and no state."""

    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        """Perturbed images from images (N, 3, H, W), both in [0, 1]; `random` draws a budget for each image.

        `part` says which rows of a batch they are, where they are not this process's share of one.
        """
        raise NotImplementedError

    def learn(self, made: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Take a step, given what `perturb` made and the gradients of the training loss with respect to that."""

    def attacks(self) -> list[Attack]:
        """The attacks at full budget that a model of this training is selected by."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class Pool(Attacker):
    """Perturbations that stay as they are: for each batch one of them. With a single one, the frozen attacker."""

    def __init__(self, noises: Sequence[Perturbation]) -> None:
        self.noises = list(noises)

    @torch.no_grad()
    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        noise = self.noises[int(torch.randint(len(self.noises), (), generator=random))]
        return at_random_budgets(images, noise, random, part)

    def attacks(self) -> list[Attack]:
        return list(self.noises)


class Online(Attacker):
    """A universal perturbation that is kept through training and climbs the training loss.

    Its gradient is a by-product of the training step (Free-AT; Shafahi et al., 2019, with one perturbation for all
    images). It starts anywhere in its budget, and takes MI-SGD steps of a tenth of it.
    """

    def __init__(self, noise: Perturbation, seed: int) -> None:
        self.noise = noise.randomise_(generator(seed))
        self.optimizer = MISGD(noise.step_groups(), lr=0.0, momentum=0.9)

    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        return at_random_budgets(images, self.noise, random, part)

    def learn(self, made: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        parameters = list(self.noise.parameters())
        uphill = torch.autograd.grad(made, parameters, gradients, retain_graph=True, allow_unused=True)
        used = [(p, gradient) for p, gradient in zip(parameters, uphill, strict=True) if gradient is not None]
        total = distributed.summed([gradient for _, gradient in used])
        for (parameter, _), gradient in zip(used, total, strict=True):
            parameter.grad = -gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.noise.project_()

    def attacks(self) -> list[Attack]:
        return [self.noise]

    def state_dict(self) -> dict[str, Any]:
        return {"noise": self.noise.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.noise.load_state_dict(state["noise"])
        self.optimizer.load_state_dict(state["optimizer"])


class PerImage(Attacker):
    """Another perturbation for every image: PGD on the model as it is, in eval mode (metric adversarial training)."""

    def __init__(self, model: ReidModel, eps: float, steps: int) -> None:
        self.model, self.eps, self.steps = model, eps, steps

    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        budgets = self.eps * shares(images, random, part)
        with inference(self.model):
            return push_away(self.model.features, images, budgets, self.steps, random)

    def attacks(self) -> list[Attack]:
        return [ModelPGD(self.model, self.eps, self.steps)]


class ModelPGD(FeaturePGD):
    """PGD on a model as it is when the attack runs, though its training goes on."""

    def __init__(self, model: ReidModel, eps: float, steps: int) -> None:
        super().__init__(model.features, eps, steps)
        self.model = model

    def attack(self, images: Tensor) -> tuple[Tensor, dict[str, float]]:
        with inference(self.model):
            return super().attack(images)


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode and its weights take no gradient, which would be a third of a backward pass.

    It lasts until the backward pass is done: where activations are computed again, it still counts.
    """
    training = model.training
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        model.train(training)
        for parameter in learnt:
            parameter.requires_grad_()


class Mixture(Attacker):
    """Several attackers, each with its share of the images of every batch, drawn anew."""

    def __init__(self, members: Sequence[Attacker]) -> None:
        self.members = list(members)

    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        rows, total = part or Part.of(images)
        here = torch.full((total,), -1)  # the place of each row among `images`, -1 where it is not there
        here[rows] = torch.arange(len(images))
        made, places = [], []
        order = torch.randperm(total, generator=random)
        for member, mine in zip(self.members, order.tensor_split(len(self.members)), strict=True):
            if len(mine):
                own = Part((here[mine] >= 0).nonzero()[:, 0], len(mine))
                places.append(send(here[mine][own.rows], images.device))
                made.append(member.perturb(images[places[-1]], random, own))
        return torch.cat(made)[torch.cat(places).argsort()]

    def learn(self, made: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        for member in self.members:
            member.learn(made, gradients)

    def attacks(self) -> list[Attack]:
        return [attack for member in self.members for attack in member.attacks()]

    def state_dict(self) -> dict[str, Any]:
        return {str(i): member.state_dict() for i, member in enumerate(self.members)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, member in enumerate(self.members):
            member.load_state_dict(state[str(i)])


def read_noises(paths: Sequence[str], eps: float, noise_type: int | None) -> list[Perturbation]:
    """The perturbations in attacker files. Raises UsageError for one of another threat than asked for: of another
    type than `noise_type` (None: any), with more than `eps` per component."""
    noises = []
    for path in paths:
        noise = attacks.load(path)
        threat = noise.threat
        if noise_type not in (None, noise.noise_type):
            raise UsageError(
                f"{path} is of noise type {noise.noise_type}, not {noise_type}; give --noise_type {noise.noise_type}, "
                "or another file"
            )
        if max(threat.eps_color, threat.eps_delta) > eps + 1e-9:
            raise UsageError(
                f"{path} is another threat: {threat.label}, which is more than --max-eps {format_budget(eps)}; "
                "raise --max-eps, or learn an attacker within it"
            )
        noises.append(noise)
    return noises


def at_random_budgets(images: Tensor, noise: Perturbation, random: Generator, part: Part | None = None) -> Tensor:
    """Each image with its own share, in [0, 1), of what `noise` adds to it: within that share of the budget."""
    return images + shares(images, random, part) * (noise(images) - images)


def shares(images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
    """Shares of the budget (N, 1, 1, 1), one for each image, in [0, 1) with density 2s: the clean half of a batch has
    share zero already, so larger ones are drawn more often."""
    rows, total = part or Part.of(images)
    return send(torch.rand((total, 1, 1, 1), generator=random)[rows].sqrt(), images.device)
