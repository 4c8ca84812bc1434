"""Hard triplet loss: the released numbers, and the literal definition."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from reid import UsageError
from reid.training.losses import ReidLoss, hard_triplet

GOLDEN = Path(__file__).parents[1] / "data" / "losses.npz"


def test_loss_precision_and_gradient_are_the_released_ones():
    golden = np.load(GOLDEN)
    features = torch.from_numpy(golden["features"]).requires_grad_()
    loss, precision = hard_triplet(features, torch.from_numpy(golden["pids"]), margin=0.5)
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["triplet_loss"]), abs=1e-5)
    assert precision.item() == pytest.approx(float(golden["triplet_precision"]), abs=1e-5)
    assert torch.allclose(features.grad, torch.from_numpy(golden["triplet_grad"]), atol=1e-5, rtol=1e-5)


def test_loss_is_the_literal_one():
    generator = torch.Generator().manual_seed(0)
    features, pids = torch.randn(12, 5, generator=generator), torch.tensor([0, 1, 2] * 4)
    hinges = []
    for i in range(12):
        distances = [(features[i] - features[j]).norm().item() for j in range(12)]
        positive = max(distances[j] for j in range(12) if pids[j] == pids[i])
        negative = min(distances[j] for j in range(12) if pids[j] != pids[i])
        hinges.append(max(0.0, positive - negative + 0.3))
    assert hard_triplet(features, pids, 0.3)[0].item() == pytest.approx(sum(hinges) / 12, abs=1e-5)


def test_identical_features_have_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    hard_triplet(features, torch.tensor([0, 0, 1, 1]))[0].backward()
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("spread", [1e-2, 1e-4])
def test_features_that_lie_close_together_are_told_apart(spread):
    generator = torch.Generator().manual_seed(0)
    point = 50 * torch.nn.functional.normalize(torch.randn(1, 64, generator=generator))
    features = (point + spread * torch.randn(16, 64, generator=generator)).requires_grad_()
    pids, exact = torch.arange(16) // 4, features.detach().double().requires_grad_()
    distances = torch.cdist(exact, exact)
    same = pids[:, None] == pids
    positive = distances.masked_fill(~same, -1).amax(1)
    negative = distances.masked_fill(same, torch.inf).amin(1)
    (0.5 + positive - negative).mean().backward()
    loss, precision = hard_triplet(features, pids, 0.5)
    loss.backward()
    assert precision.item() == pytest.approx((negative > positive).double().mean().item())
    torch.testing.assert_close(features.grad.double(), exact.grad, rtol=0.01, atol=1e-4)


def test_the_sum_adds_label_smoothed_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    features, logits = torch.randn(4, 3, generator=generator), torch.randn(4, 2, generator=generator)
    labels = torch.tensor([0, 0, 1, 1])
    log = logits.log_softmax(1)
    cross = -(0.9 * log[range(4), labels] + 0.1 * log.mean(1)).mean()
    both, _ = ReidLoss(margin=0.3, smoothing=0.1)(features, logits, labels)
    assert both.item() == pytest.approx((hard_triplet(features, labels, 0.3)[0] + cross).item(), abs=1e-5)


class TestReidLoss:
    @pytest.fixture
    def batch(self):
        random = torch.Generator().manual_seed(0)
        features, logits = torch.randn(8, 4, generator=random), torch.randn(8, 3, generator=random)
        return features, logits, torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])

    def test_is_triplet_and_cross_entropy(self, batch):
        features, logits, labels = batch
        loss, precision = ReidLoss(margin=0.4, smoothing=0.2)(*batch)
        triplet, expected_precision = hard_triplet(features, labels, 0.4)
        assert torch.equal(loss, triplet + cross_entropy(logits, labels, label_smoothing=0.2))
        assert torch.equal(precision, expected_precision)

    def test_is_triplet_alone_as_released(self, batch):
        features, logits, labels = batch
        reid_loss = ReidLoss("triplet", margin=0.4)
        loss, precision = reid_loss(features, logits.requires_grad_(), labels)
        expected = hard_triplet(features, labels, 0.4)
        assert torch.equal(loss, expected[0])
        assert torch.equal(precision, expected[1])
        assert not loss.requires_grad

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
    def test_a_relative_margin_is_in_units_of_the_spread_of_features(self, scale, batch):
        features, logits, labels = batch
        middle = sum(features) / 8
        spread = math.sqrt(sum(float(torch.dist(each, middle)) ** 2 for each in features) / 8)
        expected = hard_triplet(features / spread, labels, 0.4)
        reid_loss = ReidLoss("triplet", margin=0.4, relative=True)
        loss, precision = reid_loss(scale * (features + 3), logits, labels)
        assert loss.item() == pytest.approx(expected[0].item(), rel=1e-3)
        assert torch.equal(precision, expected[1])
        assert not torch.equal(loss, hard_triplet(scale * features, labels, 0.4)[0])

    @pytest.mark.parametrize("spread", [0, 1e-6, 1e-3])
    def test_the_gradient_of_a_relative_loss_is_bounded_where_all_features_are_alike(self, spread, batch):
        features, logits, labels = batch
        alike = (torch.tensor([1.0, 0, 0, 0]) + spread * features).requires_grad_()
        loss, _ = ReidLoss("triplet", relative=True)(alike, logits, labels)
        (gradient,) = torch.autograd.grad(loss, alike)
        assert torch.isfinite(gradient).all()
        assert gradient.norm() < 200

    @pytest.mark.parametrize("relative", [True, False])
    def test_a_relative_loss_cannot_be_lowered_by_shrinking_all_features(self, relative, batch):
        features, logits, labels = batch
        factor = torch.tensor(1.0, requires_grad=True)
        loss, precision = ReidLoss("triplet", relative=relative)(factor * features, logits, labels)
        (slope,) = torch.autograd.grad(loss, factor)
        assert precision < 0.3
        assert abs(slope) < 1e-5 if relative else slope > 0.5

    def test_an_unknown_kind_is_refused_with_the_known_ones(self):
        with pytest.raises(UsageError, match=r"loss 'ce' is not one of triplet\+ce, triplet"):
            ReidLoss("ce")
