"""Small networks of others: what a user's function may return, and files of it."""

import warnings

import torch
from torch import nn

from reid.models import InputSpec

SIZE = (32, 16)
SPEC = InputSpec(*SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class Shared(nn.Module):
    """Features (N, 8) and logits (N, 5); a convolution is used twice, and in training mode there are no features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.twice = nn.Conv2d(8, 8, 3, 1, 1)
        self.neck = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
        self.classifier = nn.Linear(8, 5)

    def forward(self, images):
        x = self.stem(images)
        x = x + self.twice(torch.relu(self.twice(x)))
        features = self.neck(x.mean((2, 3)))
        logits = self.classifier(features)
        return logits if self.training else (features, logits)


def shared(seed: int = 0) -> Shared:
    """One in eval mode, whose batch normalisations have seen something; it says how it reads images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Shared()
        network.train()
        for _ in range(3):
            network(torch.randn(16, 3, *SIZE))
    network.input = SPEC
    return network.eval()


def scores():
    """A mere function, without weights."""
    return lambda images: images.mean((2, 3))


def write_onnx(network, path) -> str:
    """The network, without its InputSpec, as an ONNX file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on the age of this exporter
        torch.onnx.export(
            network, (torch.rand(2, 3, *SIZE),), str(path), dynamo=False, opset_version=17, input_names=["pixels"],
            output_names=["embedding"], dynamic_axes={"pixels": {0: "n"}, "embedding": {0: "n"}},
        )  # fmt: skip
    return str(path)
