"""torchreid's ResNets: torchvision's, with an embedding (fc512) or without, and a classifier of another name."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families.bodies import load_whole, resnet_of
from reid.models.families.refused import NAMES
from reid.models.families.torchreid import HEADS, Torchreid

logger = logging.getLogger(__name__)


class TorchreidResNetFamily(Torchreid):
    """Depth, groups, IBN-a and embedding come from the keys, and so does the last stride: 1 with an embedding."""

    feature = "pooled last stage, or of fc512 the embedding after its ReLU, not scaled"
    told_by = "conv1.weight, layer1.0.conv1.weight, classifier.weight, fc.0.weight (fc512) and no fc.weight"
    traps = (
        "An ImageNet backbone has the same keys with fc.weight (1000 rows) for classifier.weight. boxmot leaves the "
        "classifier out; then nothing tells the network from a backbone without a head. The stem has its ReLU."
    )

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        resnet = "conv1.weight" in state and any(key.startswith("layer4.") for key in state)
        return resnet and state.keys().isdisjoint({"fc.weight", *NAMES})

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        if not any(key.startswith((*HEADS, "fc.")) for key in state):
            logger.warning("%s has no head: nothing tells whether it has ever seen people, or images of ImageNet", path)
        return load_whole(lambda: resnet(state, path), state, path, HEADS)


def resnet(state: Mapping[str, Tensor], path: str | Path) -> nn.Module:
    """Normalised images (N, 3, H, W) to features (N, D)."""
    embedding = state.get("fc.0.weight")
    model = resnet_of(state, path, last_stride=2 if embedding is None else 1)
    if embedding is not None and embedding.ndim == 2:
        width, inside = embedding.shape
        model.fc = nn.Sequential(nn.Linear(inside, width), nn.BatchNorm1d(width), nn.ReLU())
        model.arch += f"_fc{width}"
    return model
