"""Every attack on each image finds what is planted for it, within its budget and in whole grey levels."""

import pytest
import torch
from planted import WEAKNESSES, batch_of, circle, people, turning, weights

from reid import attacks
from reid.attacks import AttackBatch
from reid.attacks.image import IMAGE
from reid.attacks.image.ranking import SmoothAP, margin
from reid.attacks.search import SEARCH
from reid.attacks.specs import create
from reid.models import InputSpec, Victim
from reid.runtime.seeds import generator

ALL = [*IMAGE, *SEARCH]
KNOWING_THE_GALLERY = ("margin", "smooth-ap", "square")
KNOWING_THE_MODEL = ("cosine", "nearest", "farthest", "fna")


def objective(attack, victim, batch, images):
    with torch.no_grad():
        features = victim(images)
        if attack.kind == "search":
            return margin(features, batch)
        return attack.objective(features, attack.guides(victim, batch), batch)


def optimum(attack, victim, batch, weight):
    """The most that the objective can be for each image: the angle is all that counts, and the budget moves it by as
    much as it does from one of these images to the next."""
    shares = torch.linspace(-1, 1, 201)
    line = [batch.images + share * attack.eps * weight.sign() for share in shares]
    return torch.stack([objective(attack, victim, batch, images) for images in line]).amax(0)


@pytest.mark.parametrize("weakness", WEAKNESSES)
@pytest.mark.parametrize("name", ALL)
def test_the_optimum_is_reached(name, weakness):
    if (name, weakness) == ("lta", "corner"):
        pytest.skip("its patch leaves the corner, and so the feature, as it is: it has no gradient to start with")
    weight, attack = weights(weakness), create(name, **({} if name in SEARCH else {"restarts": 5}))
    victim, batch = turning(weight), batch_of(people())
    images = attacks.perform(attack, victim, batch).images
    before, reached = (objective(attack, victim, batch, each) for each in (batch.images, images))
    most = optimum(attack, victim, batch, weight)
    assert (most > before).all()
    assert (reached >= before + 0.95 * (most - before) - 1e-6).all()


def lopsided():
    """Features go far to the right, where the training set is, and little to the left, where the strangers are."""
    weight = weights("linear")
    rest = (people() * weight).sum((1, 2, 3)).mean()

    def features(images):
        moved = (images * weight).sum((1, 2, 3)) - rest
        return torch.stack([torch.where(moved > 0, 9 * moved, moved), torch.ones_like(moved)], dim=1)

    batch = batch_of(people())
    points = torch.tensor([[0.0, 1.0], [-0.4, 1.0], [-0.5, 1.0], [-0.45, 1.0], [0.0, 20.0]])
    gallery = attacks.Reference(points, torch.arange(5), torch.ones(5).long())
    training = attacks.Reference(torch.tensor([[20.0, 1.0], [30.0, 1.0]]), torch.arange(2), torch.arange(2))
    return Victim(features, InputSpec(8, 4, resize=None)), AttackBatch(
        batch.images, batch.pids, batch.camids, reference=gallery, training=training
    )


@pytest.mark.parametrize("name", [*KNOWING_THE_GALLERY, *KNOWING_THE_MODEL])
def test_a_ranking_that_only_the_gallery_shows_how_to_break(name):
    """Attacks that go away from a feature may go either way."""
    victim, batch = lopsided()
    images = attacks.perform(create(name), victim, batch).images
    precision = -SmoothAP().objective(victim(images), victim(batch.images), batch)
    assert (precision < 0.3).all() if name in KNOWING_THE_GALLERY else (precision > 0.9).all()


@pytest.mark.parametrize("eps", [8 / 255, 0.03, 1.5 / 255, 0.0])
@pytest.mark.parametrize("name", ALL)
def test_images_are_of_8_bits_within_the_budget(name, eps):
    images = people()
    images[0, :, 0, :2], images[1, :, 0, :2] = 0.0, 1.0
    settings = {"calls": 20} if name in SEARCH else {}
    attacked, spent, _ = attacks.perform(
        create(name, eps=eps, **settings), turning(weights("linear")), batch_of(images)
    )
    assert torch.equal(attacked, (attacked * 255).round() / torch.tensor(255.0))
    assert spent["total_8bit"] == pytest.approx(spent["total"], abs=1e-6)
    assert spent["total"] <= eps + 1e-6
    assert torch.equal(attacked, images) == (eps == 0.0)


@pytest.mark.parametrize("name", ALL)
def test_an_image_does_not_depend_on_its_batch(name):
    attack = create(name, **({"calls": 50} if name in SEARCH else {"restarts": 2}))
    victim, batch = turning(weights("linear")), batch_of(people())
    together = attacks.perform(attack, victim, batch).images
    alone = [attacks.perform(attack, victim, batch_of(image[None])).images for image in batch.images]
    assert ((together - torch.cat(alone)).abs() > 1e-6).float().mean() < 0.01  # a sign of zero up to rounding


@pytest.mark.parametrize("name", ALL)
def test_more_seeds_than_one_and_the_same_one_gives_the_same(name):
    victim, batch = turning(weights("linear")), batch_of(people())
    settings = {"calls": 20} if name in SEARCH else {"steps": 2}
    one, again = (create(name, seed=3, **settings).attack(victim, batch).images for _ in range(2))
    assert torch.equal(one, again)


def literal(victim, batch, image, levels, steps, momentum):
    """I-FGSM and MI-FGSM away from the matches, on one image, pixel values as they are published."""
    matches = batch.reference.features[batch.reference.pids == 0]
    x, last = image[None].clone(), 0.0
    for _ in range(steps):
        x = x.detach().requires_grad_()
        ((victim(x) - matches) ** 2).sum().backward()
        last = momentum * last + x.grad / x.grad.abs().sum()
        x = x.detach() + last.sign() / 255
        x = torch.minimum(torch.maximum(x, image - levels / 255), image + levels / 255).clamp(0, 1)
    return x[0].detach()


@pytest.mark.parametrize(("name", "momentum"), [("i-fgsm", 0.0), ("mi-fgsm", 1.0)])
def test_published_steps_equal_a_literal_loop(name, momentum):
    weight = torch.randn(8, 3 * 8 * 4, generator=torch.Generator().manual_seed(2))
    victim = Victim(lambda x: torch.tanh(x.flatten(1) @ weight.T / 5), InputSpec(8, 4, resize=None))
    batch = batch_of(people())
    points = torch.randn(2, 8, generator=torch.Generator().manual_seed(3))
    gallery = attacks.Reference(points, torch.tensor([0, 0]), torch.tensor([1, 1]))
    batch = AttackBatch(batch.images, batch.pids, batch.camids, reference=gallery)
    attack = create(name, eps=4 / 255)
    assert attack.steps == 5
    *_, (last, _) = attack.iterates(victim, batch, victim(batch.images), attack.eps, generator(0))
    expected = torch.stack([literal(victim, batch, image, 4, 5, momentum) for image in batch.images])
    assert ((last - expected).abs() > 1e-6).float().mean() < 0.005


def test_the_number_of_published_steps_follows_the_budget():
    steps = {levels: create("i-fgsm", eps=levels / 255).steps for levels in (0, 1, 2, 4, 5, 8, 16)}
    assert steps == {0: 1, 1: 1, 2: 2, 4: 5, 5: 6, 8: 10, 16: 20}
    assert (create("sma").steps, create("fgsm").steps, create("i-fgsm:steps=3").steps) == (15, 1, 3)


def test_lta_greys_a_patch_of_all_images_alike():
    images = people()
    greyed = create("lta").greyed(images)
    changed = (greyed != images).any(dim=1)
    assert 0 < changed.float().mean() < 0.5
    assert (greyed[:, :1] == greyed).all(dim=1)[changed].all()
    rows, columns = changed.any(dim=0).nonzero().unbind(dim=1)
    patch = greyed[:, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert torch.equal(patch[:, 0], patch[:, 2])


def test_what_is_known_of_identities_is_their_mean_without_junk():
    known = circle([0.1, 0.3, 2.0, 1.0], [7, 7, 3, -1])
    expected = torch.stack([known.features[2], known.features[:2].mean(0)])
    torch.testing.assert_close(known.identities, expected)
    torch.testing.assert_close(known.middle, known.features.mean(0))
