"""What all networks of torchreid share, and boxmot's files of them, which say how images are prepared."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reid.models.families import Family
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec

logger = logging.getLogger(__name__)

HEADS = ("classifier.",)


class Torchreid(Family):
    """Base of the families of torchreid's networks, with their input. boxmot saves them with metadata, in float16."""

    seen = "KaiyangZhou/deep-person-reid @ f8cd150; mikel-brostrom/boxmot @ a6361e0 for its envelope"

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        """256 x 128, or what boxmot's metadata says. Warns where boxmot trained on padded images."""
        size = content.get("img_size")
        sides = [side for side in size if type(side) is int and side > 0] if isinstance(size, list | tuple) else []
        if content.get("preprocess") not in (None, "resize"):
            logger.warning(
                "the model was trained on images prepared by %r, which kept their proportions; here they are stretched",
                str(content["preprocess"])[:60],
            )
        height, width = sides if len(sides) == 2 else (256, 128)
        return InputSpec(height, width, mean=IMAGENET_MEAN, std=IMAGENET_STD)
