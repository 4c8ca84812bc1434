"""The losses of fare, anchored, trades and gallery, against slow and literal versions of them."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from small_sets import half_perturbed

from reid.defenses import DEFENSES
from reid.runtime.device import Compute
from reid.training import ReidLoss, TrainingSet
from reid.training.batches import TrainingBatch
from reid.training.centroids import Centroids
from reid.training.losses import drift, nearest_centroid
from reid.training.network import TrainedNetwork
from reid.training.view import View

CPU = Compute(torch.device("cpu"), "fp32")
NEW = ("fare", "anchored", "trades", "gallery")


class Known:
    """Stands for Centroids: those of four people, the virtual ones elsewhere."""

    def of(self, virtual):
        features = torch.rand(4, 64, generator=torch.Generator().manual_seed(3 + virtual))
        return type("Reference", (), {"features": features})()


@pytest.fixture
def batch():
    """4 people x 2 images, every second one once more under noise."""
    return half_perturbed(0.05)


@pytest.fixture
def view(tiny):
    tiny.dropout.p = 0.0
    network = TrainedNetwork(tiny)
    return View(network, network.weights(), CPU, ReidLoss(), copy.deepcopy(tiny).eval(), Known())


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def spread(rows):
    middle = torch.tensor([mean(column.tolist()) for column in rows.T])
    return mean(squared(row, middle) for row in rows)


def literal_pull(features, start, anchor):
    """Rows 0 .. 7 are clean, row 8 + i was made from row 2 i."""
    perturbed = mean(squared(features[8 + i], start[2 * i]) for i in range(4))
    clean = mean(squared(features[i], start[i]) for i in range(8))
    return (perturbed + anchor * clean) / spread(start)


def literal_classification(features, labels, centroids, width):
    def of(feature, label):
        scores = [-squared(feature, centre) / (width * spread(centroids)) for centre in centroids]
        top = max(scores)
        return top + math.log(sum(math.exp(score - top) for score in scores)) - scores[label]

    return mean(of(*row) for row in zip(features, labels.tolist(), strict=True))


class TestLosses:
    """Each against its literal version, at weights that are not those of the start."""

    @pytest.fixture
    def known(self, view, batch):
        """Features and logits of all rows, and the start's features of the clean images."""
        with torch.no_grad():
            for weight in view.network.model.base.parameters():
                weight.mul_(1.1)
            features, logits = view.network(batch.images)
            return features, logits, view.start.features(batch.clean)

    @pytest.mark.parametrize("anchor", [0.0, 1.0, 2.5])
    def test_fare(self, view, batch, known, anchor):
        features, _, start = known
        loss, precision = DEFENSES["fare"](anchor=anchor).loss(view, batch)
        assert loss.item() == pytest.approx(literal_pull(features, start, anchor), rel=1e-4)
        assert precision is None

    def test_fare_pulls_to_the_features_before_colour_jitter(self, view, batch, known):
        features, _, _ = known
        before = batch.clean**1.5
        with torch.no_grad():
            start = view.start.features(before)
        loss, _ = DEFENSES["fare"](anchor=1.0).loss(view, replace(batch, before=before))
        assert loss.item() == pytest.approx(literal_pull(features, start, 1.0), rel=1e-4)

    @pytest.mark.parametrize("name", ["fare", "anchored"])
    def test_perturbed_images_alone_bear_the_weight_of_clean_ones_too(self, view, batch, known, name):
        _, _, start = known
        alone = TrainingBatch(batch.clean[:0], 0.9 * batch.clean, batch.labels[:8], batch.clean)
        with torch.no_grad():
            features, _ = view.network(alone.images)
        expected = 3.5 * mean(squared(features[i], start[i]) for i in range(8)) / spread(start)
        if name == "anchored":
            expected += literal_classification(features, alone.labels, Known().of(False).features, 0.1)
        loss, _ = DEFENSES[name](anchor=2.5).loss(view, alone)
        assert loss.item() == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("virtual", [False, True])
    def test_anchored(self, view, batch, known, virtual):
        features, _, start = known
        if virtual:
            view.network.virtual_head = torch.nn.Linear(2048, 4)
            batch = replace(batch, virtual=True)
        expected = literal_pull(features, start, 2.0)
        expected += literal_classification(features, batch.labels, Known().of(virtual).features, 0.1)
        loss, precision = DEFENSES["anchored"](anchor=2.0).loss(view, batch)
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        assert precision is None

    @pytest.mark.parametrize("weight", [1.0, 3.0])
    def test_trades(self, view, batch, known, weight):
        features, logits, _ = known
        expected, triplets = ReidLoss()(features[:8], logits[:8], batch.labels[:8])
        expected += weight * mean(squared(features[8 + i], features[2 * i]) for i in range(4)) / spread(features[:8])
        loss, precision = DEFENSES["trades"](divergence=weight).loss(view, batch)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        assert precision == triplets

    def test_gallery(self, view, batch, known):
        features, logits, _ = known
        expected, _ = ReidLoss()(features, logits, batch.labels)
        assert DEFENSES["gallery"]().loss(view, batch)[0].item() == pytest.approx(expected.item(), rel=1e-4)

    @pytest.mark.parametrize("name", ["fare", "anchored"])
    def test_anchors_pull_the_live_features_alone(self, view, batch, name):
        loss, _ = DEFENSES[name]().loss(view, batch)
        loss.backward()
        assert view.network.model.base.conv1.weight.grad.abs().max() > 0
        assert all(weight.grad is None for weight in view.start.parameters())


def test_drift_has_no_scale():
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 6, 5, generator=random)
    torch.testing.assert_close(drift(7 * a, 7 * b, 7 * b), drift(a, b, b))
    assert drift(a, a, b) == 0


def test_features_do_not_drift_less_by_being_more_alike():
    """Bringing all of them nearer to their middle changes nothing."""
    clean, moved = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)) + 3
    scale = torch.ones((), requires_grad=True)
    features, targets = (clean.mean(0) + scale * (each - clean.mean(0)) for each in (moved, clean))
    drift(features, targets, targets).backward()
    assert scale.grad.abs() < 1e-5


def test_the_nearest_centroid_is_the_most_likely_class():
    centroids = torch.eye(3)
    right, wrong = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    assert (
        nearest_centroid(centroids, right, centroids, 0.1) < 0.01 < nearest_centroid(centroids, wrong, centroids, 0.1)
    )
    near, far = (nearest_centroid(place * centroids, right, centroids, 1.0) for place in (0.9, 0.6))
    assert near < far


class TestWhatTheyNeed:
    @pytest.mark.parametrize("name", NEW)
    def test_an_adversary_and_a_virtual_set_where_there_is_one(self, name):
        defense = DEFENSES[name]()
        assert (defense.needs_adversary, defense.needs_virtual, defense.takes_virtual) == (True, False, True)
        assert defense.inner_order is None

    @pytest.mark.parametrize("name", NEW)
    def test_they_look_ahead_where_that_is_asked_for(self, name):
        defense = DEFENSES[name](look_ahead=True, inner_order="second", inner_lr=0.02)
        assert (defense.inner_order, defense.inner_lr) == ("second", 0.02)

    def test_labels_the_start_and_its_centroids(self):
        made = [DEFENSES[name]() for name in NEW]
        assert [each.needs_labels for each in made] == [False, True, True, True]
        assert [each.needs_start for each in made] == [True, True, False, False]
        assert [each.needs_centroids for each in made] == [False, True, False, False]
        assert [each.attack_objective for each in made] == ["loss", "nearest", "loss", "smooth_ap"]


class TestCentroids:
    def test_are_means_of_all_images_of_an_identity(self, tiny, training_set):
        data = training_set("real")
        known = Centroids(tiny.eval(), [data, training_set("virtual")], CPU)
        with torch.no_grad():
            features = tiny.features(torch.cat([*data.plain(CPU.device)]))
        rows = [[i for i, sample in enumerate(data.samples) if sample.pid == pid] for pid in range(10, 60, 10)]
        expected = torch.stack([features[own].mean(0) for own in rows])
        torch.testing.assert_close(known.of(False).features, expected, rtol=1e-4, atol=1e-6)
        assert known.of(False).pids.tolist() == [0, 1, 2, 3, 4]
        assert len(known.of(True).features) == 6

    def test_are_computed_once(self, tiny, training_set, monkeypatch):
        asked, plain = [], TrainingSet.plain
        monkeypatch.setattr(TrainingSet, "plain", lambda *args: asked.append(1) or plain(*args))
        known = Centroids(tiny.eval(), [training_set("real")], CPU)
        assert asked == []
        assert known.of(False) is known.of(False)
        assert asked == [1]

    def test_are_kept_for_defences_that_say_so(self, view, batch):
        torch.testing.assert_close(view.centroids(batch), Known().of(False).features)
        with pytest.raises(ValueError, match="needs_centroids"):
            View(view.network, view.weights, CPU, ReidLoss()).centroids(batch)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--anchor", "-1"], "'-1' is not a number of at least 0"),
        (["--divergence", "0"], "'0' is not a number above 0"),
        (["--ema", "1"], "'1' is not a number from 0 to below 1"),
        (["--move", "early"], "'early' is none of all, late"),
        (["--start-share", "1"], "'1' is not a number from 0 to below 1"),
        (["--only-perturbed", "-1"], "'-1' is not a whole number of at least 0"),
        (["--attack-objective", "neares"], "did you mean nearest?"),
    ],
)
def test_options_are_checked(words, problem, capsys):
    import metaDefense

    with pytest.raises(SystemExit) as stopped:
        metaDefense.main(["-s", "synth-a", "--resume", "model.pth", "--defense", "fare", *words])
    assert stopped.value.code == 2
    assert problem in capsys.readouterr().err
