"""Re-ID networks: a torchvision ResNet body, pooled features for retrieval, an identity head for training."""

import logging
import pickle
from http.client import HTTPException
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from reid.errors import UsageError
from reid.models.architectures import BODIES, EMBEDDING, HEAD, RES_META, RES_META_HEAD, names
from reid.models.checks import ImageCheck
from reid.models.inputs import InputSpec
from reid.models.readings import IMAGENET_MEAN, IMAGENET_STD
from reid.models.stem import quicken
from reid.runtime.registry import unknown
from reid.runtime.seeds import for_torch

if TYPE_CHECKING:
    from torchvision.models.resnet import ResNet

logger = logging.getLogger(__name__)

INPUT = InputSpec(256, 128, resize=None, mean=IMAGENET_MEAN, std=IMAGENET_STD)


class Trainable(nn.Module):
    """What training changes: a network with a head. Images are (N, 3, H, W), RGB in [0, 1]; the body is `base`.

    `batch_norm` says which statistics normalise in training: "live", those of the batch, or "eval", the running ones,
    which then stay as they are. `recompute_activations` trades time for memory: activations are computed again instead
    of kept.
    """

    arch: str
    num_classes: int
    feature_dim: int
    embedding_dim: int
    input: InputSpec
    recompute_activations = False
    batch_norm = "live"

    def features(self, images: Tensor) -> Tensor:
        """Features (N, feature_dim), float32."""
        raise NotImplementedError

    def embedding(self, features: Tensor) -> Tensor:
        """What a head classifies: (N, embedding_dim) from features (N, feature_dim)."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.batch_norm == "eval":
            switch_norms(self, False)
        return self


class ReidModel(Trainable):
    """`features, logits = model(x)`: (N, 3, H, W) in [0, 1] to (N, feature_dim) and (N, num_classes).

    The features are the globally pooled last stage, not normalised. The state dict has the keys of the released models.
    resMeta is the resnet50 without the ReLU of the stem and the unused `base.fc`, with another name for the head.
    """

    def __init__(self, arch: str, num_classes: int) -> None:
        super().__init__()
        res_meta = arch == RES_META
        self.arch, self.num_classes, self.stem_relu = arch, num_classes, not res_meta
        self.embedding_dim, self.input = EMBEDDING, INPUT
        self.normalise: nn.Module = nn.Sequential(ImageCheck(), INPUT.layer())
        self.base = _resnet("resnet50" if res_meta else arch)
        quicken(self.base)
        self.feature_dim: int = self.base.fc.in_features
        if res_meta:
            del self.base.fc
        else:
            self.base.fc.requires_grad_(False)  # kept for its keys only; never computed
        self.feat = nn.Linear(self.feature_dim, EMBEDDING, bias=False)
        self.feat_bn = nn.BatchNorm1d(EMBEDDING)
        self.dropout = nn.Dropout(0.1)
        self.head_name = RES_META_HEAD if res_meta else HEAD
        head = nn.Linear(EMBEDDING, num_classes)
        self.add_module(self.head_name, head)
        nn.init.kaiming_normal_(self.feat.weight, mode="fan_out")
        nn.init.normal_(head.weight, std=0.001)
        nn.init.zeros_(head.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of images (N, 3, H, W) in [0, 1]. Raises UsageError for others, as `features` does."""
        features = self.features(images)
        return features, self.get_submodule(self.head_name)(self.embedding(features))

    def features(self, images: Tensor) -> Tensor:
        """Features (N, feature_dim) alone."""
        base, x = self.base, self.normalise(images)
        stem = nn.Sequential(base.conv1, base.bn1, *([base.relu] if self.stem_relu else []), base.maxpool)
        again = self.recompute_activations and torch.is_grad_enabled()
        for block in (stem, *base.layer1, *base.layer2, *base.layer3, *base.layer4):
            x = recomputed(block, x) if again else block(x)
        return x.float().mean(dim=(2, 3))  # float32 from here on, whatever autocast chose for the convolutions

    def embedding(self, features: Tensor) -> Tensor:
        """What a head classifies: (N, 2048) from features (N, feature_dim)."""
        return self.dropout(torch.relu(self.feat_bn(self.feat(features))))


def switch_norms(network: nn.Module, training: bool) -> None:
    """Put the batch normalisations of `network` alone into training or eval mode."""
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.train(training)


def create(name: str, num_classes: int, pretrained: bool = False, seed: int | None = None) -> ReidModel:
    """A re-ID network in training mode; `names()` lists the architectures.

    `pretrained` starts the body from torchvision's ImageNet weights, or warns where they cannot be had. The random
    weights come from `seed`, or from the global generator. Raises UsageError for an unknown name or no class.
    """
    if name not in names():
        raise unknown("architecture", name, names())
    if num_classes < 1:
        raise UsageError(f"num_classes is {num_classes}; give the number of training identities, at least 1")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(for_torch(seed))
        model = ReidModel(name, num_classes)
    if pretrained:
        _load_imagenet_weights(model)
    return model


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """`block(x)`, of which only the input is kept until the backward pass computes the block again.

    The second time has the weights of the first, also under `functional_call`, and leaves the running statistics alone.
    """
    weights, statistics = dict(block.named_parameters()), dict(block.named_buffers())
    again = False

    def run(x: Tensor, *values: Tensor) -> Tensor:
        nonlocal again
        buffers = {name: value.clone() for name, value in statistics.items()} if again else statistics
        again = True
        return functional_call(block, dict(zip(weights, values, strict=True)) | buffers, (x,))

    return checkpoint(run, x, *weights.values(), use_reentrant=False, preserve_rng_state=False)


def _resnet(name: str) -> "ResNet":
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # takes a second: when a network is made

    body = BODIES[name]
    return ResNet(Bottleneck if body.bottleneck else BasicBlock, list(body.blocks))


def _load_imagenet_weights(model: ReidModel) -> None:
    import torchvision

    body = "resnet50" if model.arch == RES_META else model.arch
    if body not in torchvision.models.list_models():
        logger.warning("%s has no ImageNet weights; it starts from random weights and needs longer training", body)
        return
    weights = torchvision.models.get_model_weights(body)["IMAGENET1K_V1"]
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        logger.warning(
            "no ImageNet weights for %s (%s): it starts from random weights, which scores much lower; "
            "with a network they come by themselves, without one put %s into %s/checkpoints",
            *(body, error, weights.url.rpartition("/")[2], torch.hub.get_dir()),
        )
        return
    own = model.base.state_dict()  # resMeta has no place for fc
    model.base.load_state_dict({key: value for key, value in state.items() if key in own})
