"""Which network a state dict belongs to, told from its keys and shapes alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from reid.errors import CheckpointError
from reid.models.architectures import BODIES, HEAD, RES_META, RES_META_HEAD


class Layout(NamedTuple):
    """Architecture as `create` names it, and number of classes: None where the file has no head."""

    arch: str
    num_classes: int | None


def layout_of(state: Mapping[str, Tensor], path: str | Path) -> Layout:
    """The layout of a state dict without `module.`; `path` is for the messages.

    The head's name tells the stem: `classifier_x2` is a resnet, `classifier` without `base.fc` is resMeta.
    Raises CheckpointError, saying what the file is instead, when it is no re-ID model or cannot be told.
    """
    _refuse_other_files(state, path)
    body = _resnet(state, path)
    if f"{HEAD}.weight" in state:
        return Layout(body, _classes(state, HEAD, path))
    if "base.fc.weight" in state and f"{RES_META_HEAD}.weight" not in state:
        return Layout(body, None)
    if "base.fc.weight" in state or f"{RES_META_HEAD}.weight" not in state or body != "resnet50":
        raise CheckpointError(
            f"{path} is a {body} with neither the head {HEAD} of the resnets nor, without base.fc, the head "
            f"{RES_META_HEAD} of resMeta, so its stem is not known; docs/checkpoints.md lists known layouts"
        )
    return Layout(RES_META, _classes(state, RES_META_HEAD, path))


def few(keys: Iterable[object]) -> str:
    """The first three of `keys` for a one-line message, whatever a stranger put into them."""
    shown = [" ".join(str(key).split())[:60] for key in keys]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def _classes(state: Mapping[str, Tensor], head: str, path: str | Path) -> int:
    shape = tuple(state[f"{head}.weight"].shape)
    if len(shape) != 2 or shape[0] == 0:
        raise CheckpointError(f"{path} has {head}.weight of shape {shape}, not (classes, width); save it again")
    return shape[0]


def _refuse_other_files(state: Mapping[str, Tensor], path: str | Path) -> None:
    if any(key.startswith("base.") for key in state):
        return
    if any(key.endswith(("xform_params", "delta")) for key in state):
        raise CheckpointError(
            f"{path} is an attacker (keys {few(state)}), not a re-ID model; give a model, or read it with attacks.load"
        )
    if "conv1.weight" in state and "layer1.0.conv1.weight" in state:
        raise CheckpointError(
            f"{path} is an ImageNet backbone, not a re-ID model; give a model trained for re-ID, "
            "for example one that trainReid.py made with --pretrained"
        )
    raise CheckpointError(
        f"{path} is no re-ID model of a known layout (keys {few(state)}); docs/checkpoints.md lists the known layouts"
    )


def _resnet(state: Mapping[str, Tensor], path: str | Path) -> str:
    """Name of the ResNet that has the blocks in the keys."""
    bottleneck = any(".conv3." in key for key in state)
    blocks = [
        len({key.split(".")[2] for key in state if key.startswith(f"base.layer{stage}.")}) for stage in range(1, 5)
    ]
    for name, body in BODIES.items():
        if body == (bottleneck, tuple(blocks)):
            return name
    raise CheckpointError(
        f"{path} has {blocks} blocks in the four stages of its backbone, as no known ResNet; "
        "download or save it again if it should be whole"
    )
