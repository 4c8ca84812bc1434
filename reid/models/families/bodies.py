"""What families share: ResNets as their keys say, layers by name, and loading that leaves nothing over."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reid.errors import CheckpointError, few
from reid.models.architectures import BODIES, depth_of
from reid.models.checkpoint import LoadReport, load_state

if TYPE_CHECKING:
    from torchvision.models.resnet import ResNet

GROUPED: dict[tuple[int, ...], tuple[int, int]] = {(128, 4): (32, 4), (256, 8): (32, 8)}  # of ResNeXts


def load_whole(
    make: Callable[[], nn.Module], state: Mapping[str, Tensor], path: str | Path, ignored: tuple[str, ...]
) -> tuple[nn.Module, LoadReport]:
    """The network of `make`, which has no head, with the weights of a file, and what became of each key.

    Raises CheckpointError for a file that is not whole, whose weights are no finite numbers or were quantised, or that
    has keys of another network: all that do not begin with one of `ignored`.
    """
    with torch.device("meta"):  # takes neither time nor random numbers
        model = make()
    own = model.state_dict()
    whole = [key for key in own if own[key].is_floating_point() and key in state and not state[key].is_floating_point()]
    if whole:
        remedy = "give the model from before it was quantised, or export it to ONNX"
        raise CheckpointError(f"{path} holds whole numbers for {few(whole)}, as quantised models do; {remedy}")
    if lost := [key for key in own if key in state and not state[key].float().isfinite().all()]:
        raise CheckpointError(f"{path} holds NaN or infinity in {few(lost)}; take the file of an earlier epoch")
    others = sorted(key for key in state.keys() - own.keys() if not key.startswith(ignored))
    if others:
        problem = f"there are {len(others)} tensors that it does not have ({few(others)})"
        raise CheckpointError(f"{path} is no {model.arch}: {problem}; export the model to ONNX instead")
    if sum(_floats(own)) <= sum(_floats(state)):  # else it cannot be whole, nor perhaps be held in memory
        model = model.to_empty(device="cpu").eval()
    for buffer in model.buffers():
        buffer.zero_()  # files may lack the counters of batches
    return model, load_state(model, state, path, optional=())


def _floats(state: Mapping[str, Tensor]) -> list[int]:
    return [value.numel() for value in state.values() if value.is_floating_point()]


def rows(state: Mapping[str, Tensor], key: str, otherwise: int = 512) -> int:
    """How many rows a tensor has, or `otherwise` where it is missing or has none."""
    return (*state[key].shape, 0)[0] or otherwise if key in state else otherwise


class Named(nn.Sequential):
    """Layers in turn, each with a name for its keys."""

    arch = ""


def named(**layers: nn.Module) -> Named:
    """The layers in turn, each under its name."""
    return Named(OrderedDict(layers))


def resnet_of(
    state: Mapping[str, Tensor], path: str | Path, prefix: str = "", *, last_stride: int = 2, stages: int = 4
) -> "ResNet":
    """torchvision's ResNet, ResNeXt or IBN-a ResNet whose keys begin with `prefix`; it gives its pooled last stage.

    Its name is `arch`. Raises CheckpointError where a block is missing.
    """
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # takes a second: when a network is made

    name = depth_of(state, path, prefix, stages)
    body, second = BODIES[name], state.get(f"{prefix}layer1.0.conv2.weight", torch.empty(0))
    groups, width = (body.bottleneck and GROUPED.get((*second.shape[:2],))) or (1, 64)
    model = ResNet(Bottleneck if body.bottleneck else BasicBlock, list(body.blocks), 1, False, groups, width)
    model.arch = name if groups == 1 else f"{name.replace('resnet', 'resnext')}_{groups}x{width}d"
    model.fc = nn.Identity()
    if stages < 4:
        model.layer4 = nn.Identity()
    elif last_stride == 1:
        for layer in model.layer4[0].modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
    for place, block in list(model.named_modules()):
        if f"{prefix}{place}.bn1.IN.weight" in state:
            block.bn1, model.arch = IBN(block.bn1.num_features), f"{name}_ibn_a"
    return model


class IBN(nn.Module):
    """Instance normalisation of the first half of the channels, batch normalisation of the second."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = channels // 2
        self.IN = nn.InstanceNorm2d(self.first, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.first)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.IN(x[:, : self.first]), self.BN(x[:, self.first :])], 1)
