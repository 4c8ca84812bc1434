"""What holds for every attack: it gets what it needs, keeps its budget, and its passes are counted."""

import pytest
import torch

from reid.attacks import Attack, AttackBatch, Attacked, Reference, Threat, perform
from reid.attacks.base import beyond
from reid.errors import ReidError, UsageError
from reid.models import Victim
from reid.models.victim import Passes

EPS = 8 / 255
ZERO = {"color": 0.0, "delta": 0.0, "total": 0.0, "total_8bit": 0.0}


class Changing(Attack):
    """An attack that does to the images whatever a test says."""

    kind = "image"

    def __init__(self, change, needs=(), threat=None, spent=None):
        self.change, self.needs, self.spent = change, frozenset(needs), spent or {}
        self.threat = threat or Threat(0.0, EPS)

    def attack(self, victim, batch):
        return Attacked(self.change(victim, batch), self.spent, Passes(123, 456))


def adding(amount, **settings):
    return Changing(lambda victim, batch: batch.images + amount, **settings)


@pytest.fixture
def victim():
    return Victim(lambda x: x.mean((2, 3)))


@pytest.fixture
def grey():
    return AttackBatch(torch.full((4, 3, 8, 4), 100 / 255))


class TestSpent:
    def test_is_measured_on_the_images_whatever_the_attack_says(self, victim, grey):
        spent = perform(adding(5 / 255), victim, grey).spent
        assert spent == pytest.approx({"color": 0, "delta": 0, "total": 5 / 255, "total_8bit": 5 / 255}, abs=1e-7)

    def test_of_8_bits_is_measured_after_rounding(self, victim, grey):
        spent = perform(adding(3.6 / 255), victim, grey).spent
        assert spent["total"] == pytest.approx(3.6 / 255, abs=1e-7)
        assert spent["total_8bit"] == pytest.approx(4 / 255, abs=1e-7)

    def test_may_be_the_whole_budget_and_rounding_half_a_level_more(self, victim, grey):
        threat = Threat(0.0, 7.5 / 255)
        spent = perform(adding(7.5 / 255, threat=threat), victim, grey).spent
        assert spent["total_8bit"] == pytest.approx(8 / 255, abs=1e-7)

    def test_by_a_component_is_what_the_attack_says(self, victim, grey):
        attack = adding(8 / 255, spent={"color": 4 / 255, "delta": 4 / 255}, threat=Threat(4 / 255, 4 / 255))
        assert perform(attack, victim, grey).spent["color"] == 4 / 255


class TestRefused:
    @pytest.mark.parametrize(
        ("attack", "words"),
        [
            (adding(8.1 / 255), r"left its budget: total spent 8\.100/255 of 8\.000/255"),
            (adding(-9 / 255), r"total spent 9\.000/255 of 8\.000/255"),
            (adding(0.0, spent={"color": 1 / 255}), r"color spent 1\.000/255 of 0\.000/255"),
            (adding(0.0, spent={"delta": float("nan")}), r"delta spent nan/255"),
            (adding(float("nan")), r"images in \[nan, nan\], not in \[0, 1\]"),
            (adding(0.7, threat=Threat(0.0, 1.0)), r"images in \[1\.092, 1\.092\], not in \[0, 1\]"),
            (adding(-0.5, threat=Threat(0.0, 1.0)), r"images in \[-0\.1078, -0\.1078\], not in \[0, 1\]"),
            (Changing(lambda _, batch: batch.images[:2]), r"images \(2, 3, 8, 4\) for \(4, 3, 8, 4\)"),
            (Changing(lambda _, batch: batch.images[..., :2]), r"images \(4, 3, 8, 2\) for \(4, 3, 8, 4\)"),
            (Changing(lambda _, batch: batch.images.mean()), r"images \(\) for \(4, 3, 8, 4\)"),
        ],
    )
    def test_are_images_that_an_attack_may_not_return(self, attack, words, victim, grey):
        with pytest.raises(ReidError, match=words) as caught:
            perform(attack, victim, grey)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("need", ["labels", "reference", "gradients"])
    def test_is_an_attack_that_lacks_what_it_needs(self, need, grey):
        blind = Victim(lambda x: x.detach().mean((2, 3)))
        with pytest.raises(UsageError, match=f"the attack Changing needs {need}, which this model or these images"):
            perform(adding(0.0, needs=[need]), blind, grey)

    def test_is_a_need_that_nobody_knows(self, victim, grey):
        with pytest.raises(
            UsageError, match="needs magic, which is none of gradients, labels, reference, training, scores"
        ):
            perform(adding(0.0, needs=["magic"]), victim, grey)

    def test_is_not_an_attack_that_has_all(self, victim, grey):
        ids = torch.arange(4)
        batch = AttackBatch(grey.images, ids, ids, ids, Reference(torch.rand(4, 3), ids, ids))
        attack = adding(0.0, needs=["labels", "reference", "gradients", "scores"])
        assert torch.equal(perform(attack, victim, batch).images, grey.images)

    def test_is_not_a_model_without_gradients_for_an_attack_that_needs_none(self, grey):
        perform(adding(0.0, needs=["scores"]), Victim(lambda x: x.detach().mean((2, 3))), grey)


class TestPasses:
    def test_are_those_through_the_victim_during_the_attack(self, victim, grey):
        def change(victim, batch):
            with torch.enable_grad():
                images = batch.images.clone().requires_grad_()
                victim(images).sum().backward()
            victim(batch.images[:1])
            return batch.images

        victim(grey.images)
        assert perform(Changing(change), victim, grey).passes == Passes(5, 4)
        assert perform(Changing(change), victim, grey).passes == Passes(5, 4)
        assert perform(adding(0.0), victim, grey).passes == Passes(0, 0)

    def test_to_see_whether_there_are_gradients_are_not_counted(self, victim, grey):
        assert perform(adding(0.0, needs=["gradients"]), victim, grey).passes == Passes(0, 0)


def test_images_come_without_a_graph(victim, grey):
    weight = torch.zeros((), requires_grad=True)
    assert not perform(Changing(lambda _, batch: batch.images + weight), victim, grey).images.requires_grad


@pytest.mark.parametrize("name", ZERO)
def test_a_measurement_that_is_not_a_number_is_beyond_every_budget(name):
    assert beyond(ZERO, Threat(0.1, 0.1)) == []
    assert len(beyond(ZERO | {name: float("nan")}, Threat(0.1, 0.1))) == 1


@pytest.mark.parametrize(
    ("spent", "count"),
    [({"color": 0.11}, 1), ({"delta": 0.21}, 1), ({"total": 0.31}, 1), ({"total_8bit": 0.31}, 1), ({"total": 0.29}, 0)],
)
def test_each_component_has_its_own_bound(spent, count):
    assert len(beyond(ZERO | spent, Threat(0.1, 0.2))) == count
