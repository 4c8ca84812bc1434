"""Universal perturbations: a colour table, an additive image, and the two in sequence.

Their state dicts have the keys and shapes of the released attacker files, so that files go both ways.
"""

import logging
from abc import abstractmethod
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from reid.attacks.base import Attack, AttackBatch, Attacked, linf, spent_on
from reid.attacks.threat import Threat
from reid.attacks.universal import TYPE_NAMES
from reid.errors import UsageError
from reid.models.checks import ImageCheck
from reid.models.victim import Victim

logger = logging.getLogger(__name__)

NODES = 25  # of the colour table, along each of red, green and blue


class Box(NamedTuple):
    """Where a parameter may be: between `lower` and `upper`, elementwise. `eps` is the budget behind them."""

    lower: Tensor
    upper: Tensor
    eps: float

    def clip(self, value: Tensor) -> Tensor:
        """The nearest point inside; the derivative on the border is one, where torch.clamp's depends on its version."""
        return torch.where(value < self.lower, self.lower, torch.where(value > self.upper, self.upper, value))


class Perturbation(nn.Module, Attack):
    """A universal perturbation: `x_adv = perturbation(x)`, both (N, 3, H, W) in [0, 1], for any N, H and W.

    Raises UsageError for other images. A subclass says in `perturbed` what it does to those that have been checked.
    `threat` bounds it once its parameters are projected; learning projects after every update. `provenance` says how it
    was made (plain values, read from its file), and `component` which one a single layer is: "color" or "delta".
    """

    noise_type: int
    kind = "universal"
    component: str

    def __init__(self, threat: Threat) -> None:
        super().__init__()
        self.threat = threat
        self.provenance: dict[str, Any] = {}
        self.check = ImageCheck()

    def forward(self, x: Tensor) -> Tensor:
        return self.perturbed(self.check(x))

    @abstractmethod
    def perturbed(self, x: Tensor) -> Tensor:
        """What becomes of images (N, 3, H, W) in [0, 1], differentiably."""

    @abstractmethod
    def boxes(self) -> dict[str, Box]:
        """The box of each parameter, by the parameter's name."""

    def layers(self) -> list["Perturbation"]:
        """The single components, in the order in which they act."""
        return [self]

    def projected(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """`parameters` (by name, shaped like this module's) moved to the nearest point inside the budget.

        Nothing changes in place, and gradients flow except where a box clips."""
        boxes = self.boxes()
        return {name: boxes[name].clip(value) for name, value in parameters.items()}

    def project_(self) -> Self:
        """Move the parameters inside the budget, in place."""
        self.load_state_dict(self.projected(self.state_dict()))
        return self

    @torch.no_grad()
    def randomise_(self, random: torch.Generator, corners: bool = False) -> Self:
        """Draw every parameter uniformly from its box, or from its two ends, in place."""
        boxes = self.boxes()
        for name, parameter in self.named_parameters():
            fraction = torch.rand(parameter.shape, generator=random).to(parameter.device)
            fraction = fraction.round() if corners else fraction
            parameter.copy_(torch.lerp(boxes[name].lower, boxes[name].upper, fraction))
        return self

    def step_groups(self, fraction: float = 0.1) -> list[dict[str, Any]]:
        """Parameter groups for an optimiser: the step of each parameter is `fraction` of its own budget."""
        boxes = self.boxes()
        return [{"params": [p], "lr": fraction * boxes[name].eps} for name, p in self.named_parameters()]

    @torch.no_grad()
    def attack(self, victim: Victim | None, batch: AttackBatch) -> Attacked:
        """The perturbed images, without a graph; a universal perturbation looks at nothing else."""
        x_adv, spent = self.check(batch.images), {}
        for layer in self.layers():
            before, x_adv = x_adv, layer.perturbed(x_adv)
            spent[layer.component] = linf(x_adv, before)
        return Attacked(x_adv, spent)

    def measure(self, x: Tensor) -> dict[str, float]:
        """What is spent on the images x (N, 3, H, W), as `spent_on` says it."""
        x_adv, components, _ = self.attack(None, AttackBatch(x))
        return spent_on(x, x_adv, components)


class ColorLUT(Perturbation):
    """Noise type 1: every colour goes through a 25 x 25 x 25 table (ReColorAdv; Laidlaw and Feizi, 2019).

    The table `xform.xform_params` (1, 25, 25, 25, 3) holds absolute output colours, indexed [r, g, b]. It
    starts as the identity. Between its nodes, colours are interpolated trilinearly.
    """

    noise_type = 1
    component = "color"
    lower: Tensor
    upper: Tensor
    identity: Tensor

    def __init__(self, threat: Threat) -> None:
        super().__init__(replace(threat, eps_delta=0.0))
        levels = torch.arange(NODES) / (NODES - 1)
        identity = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij"), dim=-1)[None]
        self.xform = nn.ParameterDict({"xform_params": nn.Parameter(identity.clone())})
        self.register_buffer("identity", identity, persistent=False)
        self.register_buffer("lower", (identity - threat.eps_color).clamp(min=0), persistent=False)
        self.register_buffer("upper", (identity + threat.eps_color).clamp(max=1), persistent=False)

    def boxes(self) -> dict[str, Box]:
        return {"xform.xform_params": Box(self.lower, self.upper, self.threat.eps_color)}

    def perturbed(self, x: Tensor) -> Tensor:
        # Offsets are interpolated, not colours: then the identity is exact, and rounding errors are small.
        # grid_sample wants the table as [b, g, r] for colours in (r, g, b), within [-1, 1]; its threads share out the
        # batch, so that every image has an entry of its own: a view of the one table.
        # A table outside its box counts as the nearest one inside, which has no gradient where it is cut.
        table = Box(self.lower, self.upper, self.threat.eps_color).clip(self.xform["xform_params"])
        offsets = (table - self.identity).permute(0, 4, 3, 2, 1).expand(len(x), -1, -1, -1, -1)
        colours = (x - 0.5).mul_(2).permute(0, 2, 3, 1)[:, None]
        moved = x + grid_sample(offsets, colours, padding_mode="border", align_corners=True)[:, :, 0]
        # Inside its box the table leaves [0, 1] by rounding only: take that off, but leave the gradient alone.
        moved.detach().clamp_(0, 1)
        return moved


class Delta(Perturbation):
    """Noise type 2: one image `delta` (1, 3, height, width) added to every image. It starts as zero.

    Images of another size get it resized bilinearly, corners aligned, which is logged.
    """

    noise_type = 2
    component = "delta"
    limit: Tensor

    def __init__(self, threat: Threat, height: int = 256, width: int = 128) -> None:
        super().__init__(replace(threat, eps_color=0.0))
        self.delta = nn.Parameter(torch.zeros(1, 3, height, width))
        self.register_buffer("limit", torch.tensor(threat.eps_delta), persistent=False)
        self._resized_to = self.delta.shape[-2:]

    def boxes(self) -> dict[str, Box]:
        return {"delta": Box(-self.limit, self.limit, self.threat.eps_delta)}

    def perturbed(self, x: Tensor) -> Tensor:
        delta: Tensor = self.delta
        if delta.shape[-2:] != x.shape[-2:]:
            if self._resized_to != x.shape[-2:]:
                logger.info(
                    "a perturbation of %d x %d is resized to images of %d x %d", *delta.shape[-2:], *x.shape[-2:]
                )
                self._resized_to = x.shape[-2:]
            delta = interpolate(delta, x.shape[-2:], mode="bilinear", align_corners=True)
        return (x + delta).clamp(0, 1)


class Sequence(Perturbation):
    """Noise type 0: the colour table, then the additive image; in pixels up to the sum of their budgets."""

    noise_type = 0

    def __init__(self, threat: Threat, height: int = 256, width: int = 128) -> None:
        super().__init__(threat)
        self.layer_00 = ColorLUT(threat)
        self.layer_01 = Delta(threat, height, width)

    def layers(self) -> list[Perturbation]:
        return [self.layer_00, self.layer_01]

    def boxes(self) -> dict[str, Box]:
        return {f"layer_0{i}.{key}": box for i, layer in enumerate(self.layers()) for key, box in layer.boxes().items()}

    def perturbed(self, x: Tensor) -> Tensor:
        return self.layer_01.perturbed(self.layer_00.perturbed(x))


def create(
    noise_type: int,
    eps_color: float = 8 / 255,
    eps_delta: float = 8 / 255,
    height: int = 256,
    width: int = 128,
    side: str = "query",
) -> Perturbation:
    """A perturbation that does nothing yet: noise type 0 = colour then delta, 1 = colour, 2 = delta.

    Budgets are per component, in [0, 1]; a component that the type does not have needs none.
    `height` and `width` are those of delta. Raises UsageError for an unknown type or side, or a budget
    outside [0, 1].
    """
    threat = Threat(eps_color, eps_delta, side)
    if noise_type == 0:
        return Sequence(threat, height, width)
    if noise_type == 1:
        return ColorLUT(threat)
    if noise_type == 2:
        return Delta(threat, height, width)
    known = ", ".join(f"{number} ({words})" for number, words in TYPE_NAMES.items())
    raise UsageError(f"noise type {noise_type!r} is not one of {known}")
