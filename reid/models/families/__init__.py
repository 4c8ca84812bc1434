"""Families of models, each with layouts of checkpoints that it knows by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from reid.models.checkpoint import LoadReport
    from reid.models.inputs import InputSpec


class Family:
    """Base of the families: made without arguments, and asked about the state dict of a file (keys without `module.`).

    The texts say what users should know: which `feature` its models give (the one that their authors evaluate), what
    the keys that tell it look like (`told_by`), its `traps`, and where all this was `seen`, a repository at a commit.
    """

    feature: str
    told_by = ""
    traps = ""
    seen = ""
    marks: tuple[str, ...] = ()  # names of weights that tell an ONNX file of it, where others may have been merged
    distance = "euclidean"  # with which its authors rank: a name in reid.evaluation.DISTANCES

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        """Whether the keys are those of this family and of no other."""
        raise NotImplementedError

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the networks that the keys fit, the most likely one first, where keys cannot tell them apart.

        `content` is all of the file but the state dict.
        """
        return ("",)

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        """The network with the weights of the file, images to features (N, D), and what became of each key.

        `variant` is one of `variants`. The network may have a name for tables, `arch`. Raises CheckpointError, which
        names `path`, for a file that is not whole; `reid.models.checkpoint.load_state` does that.
        """
        raise NotImplementedError

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        """What the network of this variant takes; of an empty state and content, what most of the family's take."""
        raise NotImplementedError


FAMILIES: Registry[type[Family]] = Registry(
    "model family",
    {
        "resnet": ("reid.models.families.resnet:ResNetFamily", "the ResNets and resMeta of this project"),
        "osnet": ("reid.models.families.osnet:OSNetFamily", "torchreid's OSNet, OSNet-IBN and OSNet-AIN"),
        "torchreid_resnet": ("reid.models.families.torchreid_resnet:TorchreidResNetFamily", "torchreid's ResNets"),
        "deep_sort": ("reid.models.families.deep_sort:DeepSortFamily", "the networks of deep_sort_pytorch"),
        "strong_baseline": (
            "reid.models.families.strong_baseline:StrongBaseline",
            "reid-strong-baseline (BoT), the ResNets of TransReID and SOLIDER-REID",
        ),
        "agw": ("reid.models.families.agw:Agw", "AGW of the ReID-Survey"),
        "tao": ("reid.models.families.tao:Tao", "the ResNets of NVIDIA TAO's ReIdentificationNet"),
        "cluster_contrast": (
            "reid.models.families.cluster_contrast:ClusterContrast",
            "cluster-contrast, SpCL and MMT with ResNets",
        ),
        "fastreid": ("reid.models.families.fastreid:FastReidFamily", "fast-reid with ResNet and ResNeSt bodies"),
        "layumi": ("reid.models.families.layumi:LayumiFamily", "layumi's ResNet-50 with a linear block, and PCB"),
        "transreid": ("reid.models.families.transreid:TransReIDFamily", "TransReID, TransReID-SSL and PersonViT"),
        "clip_reid": ("reid.models.families.clip_reid:ClipReidFamily", "CLIP-ReID, the image side of its ViT"),
        "solider": ("reid.models.families.solider:SoliderFamily", "SOLIDER, Swin-T, S and B"),
        "refused": ("reid.models.families.refused:RefusedFamily", "networks that are known and refused by name"),
    },
)


def readable() -> list[str]:
    """The names of the families whose networks can be built: all but those that are told and refused."""
    return [name for name in FAMILIES if name != "refused"]
