"""The architectures that `create` knows, and which of them a file is for. Without torch, so that listing is free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reid.errors import CheckpointError, few

if TYPE_CHECKING:
    from torch import Tensor


class Body(NamedTuple):
    """A ResNet: whether its blocks are bottlenecks, and how many there are in each of its four stages."""

    bottleneck: bool
    blocks: tuple[int, ...]


class Layout(NamedTuple):
    """Architecture as `create` names it, and number of classes: None where the file has no head."""

    arch: str
    num_classes: int | None


BODIES = {
    "resnet10": Body(False, (1, 1, 1, 1)),
    "resnet18": Body(False, (2, 2, 2, 2)),
    "resnet34": Body(False, (3, 4, 6, 3)),
    "resnet50": Body(True, (3, 4, 6, 3)),
    "resnet101": Body(True, (3, 4, 23, 3)),
    "resnet152": Body(True, (3, 8, 36, 3)),
}
RES_META = "resMeta"
HEAD, RES_META_HEAD = "classifier_x2", "classifier"
BODY = ("base.conv1.", "base.layer1.")
OWN = ("feat.", "feat_bn.", "base.fc.", f"{HEAD}.")  # at least one is in any file of this project
EMBEDDING = 2048  # width between the pooled features and the head, the same for every depth


def names() -> list[str]:
    """Architectures that `create` knows. resnet10, for laptops and tests, has no published weights."""
    return [*BODIES, RES_META]


def layout_of(state: Mapping[str, Tensor], path: str | Path) -> Layout:
    """The layout of a state dict without `module.`; the head's name tells a resnet from resMeta.

    Raises CheckpointError, saying what the file at `path` is instead, when it is no re-ID model or cannot be told.
    """
    if not all(any(key.startswith(start) for key in state) for start in (BODY, OWN)):
        raise CheckpointError(f"{path} is {_no_model(state)}")
    arch = depth_of(state, path, "base.")
    has_fc, has_meta_head = "base.fc.weight" in state, f"{RES_META_HEAD}.weight" in state
    if f"{HEAD}.weight" in state:
        return Layout(arch, _classes(state, HEAD, path))
    if has_fc and not has_meta_head:
        return Layout(arch, None)
    if has_fc or not has_meta_head or arch != "resnet50":
        raise CheckpointError(
            f"{path} is a {arch} with neither the head {HEAD} of the resnets nor, without base.fc, the head "
            f"{RES_META_HEAD} of resMeta, so its stem is not known; docs/checkpoints.md lists known layouts"
        )
    return Layout(RES_META, _classes(state, RES_META_HEAD, path))


def depth_of(state: Mapping[str, Tensor], path: str | Path, prefix: str = "", stages: int = 4) -> str:
    """The name in BODIES of a ResNet with this many stages whose keys begin with `prefix`, told by its blocks.

    Raises CheckpointError when there is none, as when a block is missing.
    """
    keys = [key.removeprefix(prefix) for key in state if key.startswith(f"{prefix}layer")]
    blocks = [len({key.split(".")[1] for key in keys if key.startswith(f"layer{stage + 1}.")}) for stage in range(4)]
    found = Body(any(".conv3." in key for key in keys), (*blocks,))
    for name, body in BODIES.items():
        if found == Body(body.bottleneck, body.blocks[:stages] + (0,) * (4 - stages)):
            return name
    words = "blocks in the four stages of its backbone, as no known ResNet; download or save it again"
    raise CheckpointError(f"{path} has {blocks} {words}")


def _classes(state: Mapping[str, Tensor], head: str, path: str | Path) -> int:
    shape = tuple(state[f"{head}.weight"].shape)
    if len(shape) != 2 or shape[0] == 0:
        raise CheckpointError(f"{path} has {head}.weight of shape {shape}, not (classes, width); save it again")
    return shape[0]


def _no_model(state: Mapping[str, Tensor]) -> str:
    """What a file is instead of a re-ID model, in words."""
    if any(key.endswith(("xform_params", "delta")) for key in state):
        return f"an attacker (keys {few(state)}), not a re-ID model; give a model, or read it with attacks.load"
    told = f"keys {few(state)}"
    if {"conv1.weight", "layer1.0.conv1.weight"} <= state.keys():
        if len(state.get("fc.weight", ())) == 1000:
            return "an ImageNet backbone, not a re-ID model; give one that trainReid.py made of it with --pretrained"
        told = "torchvision's names of a ResNet, and no head of ImageNet"
    elif any(key.startswith("base.") for key in state) and any("bottleneck." in key for key in state):
        told = "base.* and bottleneck.*, as in reid-strong-baseline"
    return f"no re-ID model of a known layout ({told}); register a family (docs/checkpoints.md), or export it to ONNX"
