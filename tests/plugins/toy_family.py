"""A family of models outside this project: --plugin tests/plugins/toy_family.py"""

from torch import nn

from reid.models import InputSpec
from reid.models.checkpoint import load_state
from reid.models.families import FAMILIES, Family


@FAMILIES.register("toy", "one convolution, for the tests")
class ToyFamily(Family):
    feature = "the convolution's output, pooled"

    def matches(self, state):
        return "toy_conv.weight" in state

    def build(self, state, path, variant=""):
        network = nn.Sequential()
        network.add_module("toy_conv", nn.Conv2d(3, len(state["toy_conv.bias"]), 5, stride=4))
        network.add_module("toy_pool", nn.AdaptiveAvgPool2d(1))
        network.arch = "toy"
        return network.eval(), load_state(network, state, path)

    def input(self, state, content, variant=""):
        return InputSpec(32, 16, channels="bgr", scale=255, mean=(104, 117, 123))
