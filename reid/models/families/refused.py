"""Networks that are known by a key, and not read: too rare for a file of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from reid.errors import CheckpointError
from reid.models.families import Family

NAMES = {
    "backone.0.conv.weight": "LightMBN, of boxmot and others",
    "head.bn_global.reduction.weight": "a network of boxmot's own (CSL-TinyViT and its relatives)",
    "b1.0.0.conv1.weight": "fast-reid's MGN, whose feature joins eight branches",
    "base.layer0.conv1.weight": "a strong baseline with an SE body",
    "base.part_token1": "PASS, a transformer with tokens for parts",
    "image_encoder.avg_proj.weight": "PLIP with its ResNet",
    "image_encoder.backbone.conv1.weight": "PLIP with its ViT",
    "model.base.patch_embed.projection.weight": "NVIDIA TAO's ReIdentificationNet with a Swin",
    "head.fc_out.weight": "a re-ID model of mmtracking",
    "conv5.layers.0.weight": "torchreid's PCB",
    "fc_fusion.0.weight": "torchreid's resnet50mid",
    "layer1.2.IN.weight": "a ResNet-50 with IBN-b",
    "layer1.0.se_module.fc1.weight": "an SE-ResNet or SE-ResNeXt, as torchreid has them",
    "conv9.conv.weight": "torchreid's MobileNetV2",
    "classifier_local.weight": "HACNN, as torchreid has it",
    "fc_s.0.weight": "MLFN, as torchreid has it",
    "block1.conv1.conv.weight": "MuDeep, as torchreid has it",
    "conv0.conv.weight": "NASNet, as torchreid has it",
    "conv2d_1a.conv.weight": "Inception-ResNet-v2, as torchreid has it",
}


class RefusedFamily(Family):
    """One key tells each of them; `build` names it and says what to do instead."""

    feature = "none"
    told_by = ", ".join(NAMES)
    traps = "They are refused by name; a model that is exported to ONNX is read, whatever its network."
    seen = (
        "KaiyangZhou/deep-person-reid @ f8cd150, mikel-brostrom/boxmot @ 37ed35f, open-mmlab/mmtracking @ e79491e, "
        "JDAI-CV/fast-reid @ c9bc3ce, michuanhaohao/reid-strong-baseline @ 3da7e6f, CASIA-IVA-Lab/PASS-reID @ 5b84b42, "
        "Zplusdragon/PLIP @ 0ad9077, NVIDIA/tao_pytorch_backend @ 3a8a971"
    )

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return not NAMES.keys().isdisjoint(state)

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> NoReturn:
        name = next(name for key, name in NAMES.items() if key in state)
        remedy = "export it to ONNX where it was trained, and give the .onnx file"
        raise CheckpointError(f"{path} is {name}, which is not read here; {remedy}")
