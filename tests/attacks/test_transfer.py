"""Attacks that are made on another model: the one under evaluation is never asked."""

import pytest
import torch
from planted import EPS, batch_of, circle, people, turning, weights

from reid.attacks import AttackBatch
from reid.attacks.base import perform
from reid.attacks.specs import create
from reid.attacks.transfer import Transferred
from reid.models import InputSpec, Victim
from reid.models.victim import Passes

SPECS = ["pgd:steps=4", "cosine:steps=4", "smooth-ap:steps=4", "square:calls=4"]


@pytest.fixture
def surrogate():
    return turning(weights("linear"))


@pytest.fixture
def unasked():
    """A victim that fails when it is asked."""

    def refuse(images):
        raise AssertionError("the victim was asked")

    return Victim(refuse, InputSpec(8, 4, resize=None))


def known_of(batch):
    return {"reference": batch.reference, "training": batch.training}


@pytest.mark.parametrize("spec", SPECS)
def test_gives_the_images_that_the_attack_makes_on_the_surrogate(spec, surrogate, unasked):
    batch, attack = batch_of(people()), create(spec)
    blind = AttackBatch(batch.images, batch.pids, batch.camids)
    made = perform(Transferred(attack, surrogate, known_of(batch)), unasked, blind)
    own = perform(attack, surrogate, batch)
    assert torch.equal(made.images, own.images)
    assert made.spent == own.spent
    assert 0 < made.spent["total"] <= EPS + 1e-6


def test_counts_the_passes_through_the_surrogate(surrogate, unasked):
    batch = batch_of(people())
    made = perform(Transferred(create("pgd:steps=4"), surrogate, {}), unasked, batch)
    assert unasked.passes == Passes()
    assert made.passes == perform(create("pgd:steps=4"), surrogate, batch).passes
    assert made.passes.backward > 0


def test_knows_others_as_the_surrogate_sees_them_not_as_the_victim_does(surrogate, unasked):
    """References of the batch are features of the victim, which mean nothing to the surrogate."""
    batch, attack = batch_of(people()), create("smooth-ap:steps=4")
    misleading = AttackBatch(batch.images, batch.pids, batch.camids, reference=circle([2.0, 2.5], [0, 1]))
    made = perform(Transferred(attack, surrogate, known_of(batch)), unasked, misleading)
    assert torch.equal(made.images, perform(attack, surrogate, batch).images)


def test_needs_no_gradients_of_the_victim_and_has_the_budget_of_its_attack(surrogate):
    attack = Transferred(create("cosine", eps=3 / 255), surrogate, {})
    assert attack.needs == {"labels"}
    assert attack.knows == {"gradients", "training"}
    assert (attack.kind, attack.threat.eps_delta) == ("transfer", 3 / 255)
