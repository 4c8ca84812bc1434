"""Which of several outputs is the feature: by name, by width, and by what the network does with it."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from reid.models import Victim
from reid.models.outputs import describe, feature_place, features_of


class Network(nn.Module):
    """Pooled colours, a batch norm, a linear classifier; `give` chooses and orders the outputs."""

    def __init__(self, give, width=33, classes=64):
        super().__init__()
        torch.manual_seed(0)
        self.give = give
        self.body, self.neck, self.head = nn.Conv2d(3, width, 3), nn.BatchNorm1d(width), nn.Linear(width, classes)
        self.neck.running_mean.normal_()

    def forward(self, images):
        pooled = self.body(images).relu().mean((2, 3), keepdim=True)
        after = self.neck(pooled.flatten(1))
        return self.give(pooled, after, self.head(after))


Outputs = namedtuple("Outputs", "head body")


@pytest.mark.parametrize(
    ("give", "place"),
    [
        (lambda pooled, after, logits: (logits, after), (1,)),
        (lambda pooled, after, logits: (after, logits), (0,)),
        (lambda pooled, after, logits: [logits, [pooled]], (1, 0)),
        (lambda pooled, after, logits: (logits, pooled), (1,)),
        (lambda pooled, after, logits: (logits.softmax(1), nn.functional.normalize(after)), (1,)),
        (lambda pooled, after, logits: {"a": logits, "b": after}, ("b",)),
        (lambda pooled, after, logits: {"logits": after, "feat": logits}, ("feat",)),
        (lambda pooled, after, logits: {"cls_score": logits, "cls_token": after}, ("cls_token",)),
        (lambda pooled, after, logits: {"global_logits": logits, "x": pooled}, ("x",)),
        (lambda pooled, after, logits: Outputs(logits, after), ("body",)),
        (lambda pooled, after, logits: (None, "text", logits, after), (3,)),
        (lambda pooled, after, logits: (after, pooled), (0,)),
    ],
)
@pytest.mark.parametrize("classes", [64, 33])
def test_the_feature_is_found_wherever_it_is(give, place, classes):
    network = Network(give, classes=classes).eval()
    images = torch.rand(4, 3, 32, 16)
    victim = Victim(network)
    expected = features_of(network(images), 4)[place].flatten(1)
    torch.testing.assert_close(victim(images), expected)
    assert ".".join(map(str, place)) in victim.output
    assert "is taken for the feature" in victim.output


def test_without_gradients_name_and_width_decide():
    images = torch.rand(3, 3, 8, 8)
    wide, narrow = torch.rand(3, 64), torch.rand(3, 33)
    assert torch.equal(Victim(lambda x: (narrow, wide))(images), wide)
    assert torch.equal(Victim(lambda x: {"embedding": narrow, "other": wide})(images), narrow)


def test_a_network_that_makes_no_difference_between_outputs_gives_the_first():
    outputs = {(0,): torch.rand(3, 64), (1,): torch.rand(3, 64)}
    assert feature_place(outputs) == (0,)
    assert describe(outputs, (0,)) == "of its outputs (0: 64, 1: 64) 0 is taken for the feature"


def test_features_of_one_image_are_told_too():
    network = Network(lambda pooled, after, logits: (logits, after)).eval()
    one = torch.rand(1, 3, 32, 16)
    torch.testing.assert_close(Victim(network)(one), network(one)[1])
