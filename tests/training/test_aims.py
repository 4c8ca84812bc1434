"""Adversaries that drive features where an objective of the suite says: farther than noise of equal budget does."""

import copy
from dataclasses import replace

import pytest
import torch
from accelerator import DEVICE, accelerator

from reid import UsageError, attacks
from reid.attacks.base import Reference
from reid.attacks.universal import RECIPES
from reid.defenses import DEFENSES
from reid.runtime.device import Compute
from reid.runtime.snapshot import Run
from reid.training import ReidLoss, Schedule, Trainer
from reid.training.adversaries import OBJECTIVES, AdversaryOptions
from reid.training.adversaries.aim import Aim
from reid.training.adversaries.base import Mixture
from reid.training.adversaries.per_image import PerImage
from reid.training.adversaries.universal import Online, OnlineDelta, Pool
from reid.training.view import View

EPS = 8 / 255
AIMS = OBJECTIVES[1:]
CPU = Compute(torch.device("cpu"), "fp32")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def crowd():
    """3 identities x 4 images, of their own colours."""
    random = generator(2)
    colours = torch.rand(3, 3, 1, 1, generator=random).repeat_interleave(4, 0)
    images = (0.5 * colours + 0.5 * torch.rand(12, 3, 32, 16, generator=random)).clamp(0, 1)
    return images, torch.arange(3).repeat_interleave(4)


@pytest.fixture(params=AIMS)
def aim(request, tiny, crowd):
    """That of every second image, among all."""
    images, pids = crowd
    with torch.no_grad():
        features = tiny.eval().features(images)
    objective = RECIPES[request.param].objective_on(Reference(features, pids, pids))
    return Aim(tiny, objective, features[::2], pids[::2])


def reached(aim, images):
    with torch.no_grad():
        return aim.reached(aim.model.eval().features(images))


def noise_like(clean, budget):
    """Images at the corners of a budget that somebody threw dice for."""
    return (clean + budget * torch.randn(clean.shape, generator=generator(9)).sign()).clamp(0, 1)


class TestAim:
    def test_is_the_objective_of_each_image_by_itself(self, aim, crowd):
        images = crowd[0][::2].flip(0)
        with torch.no_grad():
            features = aim.model.features(images)
        each = [aim.objective(aim.clean[[i]], features[[i]], aim.pids[[i]]) for i in range(6)]
        torch.testing.assert_close(aim.reached(features), -torch.stack(each))

    def test_of_some_rows_is_that_of_their_images(self, aim, crowd):
        rows, images = torch.tensor([4, 1]), crowd[0][::2]
        torch.testing.assert_close(reached(aim.of(rows), images[rows]), reached(aim, images)[rows])

    def test_of_no_image_is_nothing(self, aim):
        none = torch.tensor([], dtype=torch.long)
        assert aim.of(none).reached(torch.zeros(0, 64, requires_grad=True)).shape == (0,)


class TestPerImage:
    def test_goes_farther_than_noise_of_equal_budget(self, aim, crowd):
        """With its gradient replaced by noise, it would not."""
        clean = crowd[0][::2]
        made = PerImage(aim.model, EPS, steps=4).perturb(clean, generator(), torch.ones(6, 1, 1, 1), aim)
        assert (made - clean).abs().max() <= EPS + 1e-6
        assert (reached(aim, made) > reached(aim, noise_like(clean, EPS))).all()

    def test_goes_where_it_is_told(self, aim, crowd):
        """Farther than the attack away from the clean feature, which knows nothing of the aim."""
        clean, full = crowd[0][::2], torch.ones(6, 1, 1, 1)
        told, untold = (PerImage(aim.model, EPS, 4).perturb(clean, generator(), full, to) for to in (aim, None))
        assert not torch.equal(told, untold)
        assert reached(aim, told).mean() > reached(aim, untold).mean()


class TestOnline:
    def learnt(self, aim, clean, steps):
        adversary = Online(attacks.create(0, EPS, EPS, 32, 16), seed=0)
        for seed in range(steps):
            made = adversary.perturb(clean, generator(seed), aim=aim)
            assert not made.requires_grad  # so the training step leaves its gradient out
        return adversary.noise

    def test_climbs_farther_than_noise_of_equal_budget(self, aim, crowd):
        clean = crowd[0][::2]
        before, after = (self.learnt(aim, clean, steps)(clean).detach() for steps in (0, 12))
        assert reached(aim, after).mean() > reached(aim, before).mean()
        assert reached(aim, after).mean() > reached(aim, noise_like(clean, 2 * EPS)).mean()

    def test_leaves_the_model_as_it_was(self, aim, crowd):
        before = copy.deepcopy(aim.model.train().state_dict())
        self.learnt(aim, crowd[0][::2], 2)
        assert all(torch.equal(value, before[name]) for name, value in aim.model.state_dict().items())
        assert aim.model.training
        assert all(weight.grad is None for weight in aim.model.parameters())


def test_a_mixture_gives_each_member_the_aim_of_its_own_images(aim, crowd):
    clean, full = crowd[0][::2], torch.ones(6, 1, 1, 1)
    mixture = Mixture([PerImage(aim.model, EPS, 4), PerImage(aim.model, EPS, 4)])
    made = mixture.perturb(clean, generator(), full, aim)
    assert (reached(aim, made) > reached(aim, noise_like(clean, EPS))).all()


def test_the_online_delta_has_the_total_budget_of_both_components():
    options = AdversaryOptions(("online", "online-delta"), max_eps=8 / 255)
    online, delta = options.adversary(None, [], (32, 16), torch.device("cpu")).members
    assert isinstance(delta, OnlineDelta)
    assert delta.noise.noise_type == 2
    assert delta.noise.threat.eps_total == pytest.approx(16 / 255) == online.noise.threat.eps_total


def test_an_online_delta_lives_in_training_only():
    with pytest.raises(UsageError, match="lives in training only"):
        AdversaryOptions(("online-delta",)).used(False, evaluates=True)


def test_an_objective_wants_an_adversary_that_looks_at_the_model():
    with pytest.raises(UsageError, match=r"--attack-objective nearest drives nothing.*add online"):
        AdversaryOptions(("frozen",), ("file.pth",), attack_objective="nearest").used(True, False)
    assert AdversaryOptions(("pool", "pgd"), ("file.pth",), attack_objective="nearest").used(True, False)


class TestTrainer:
    @pytest.fixture
    def build(self, tiny_once, training_set):
        def trainer(defense, adversary, objective=None, compute=CPU, **options):
            model = copy.deepcopy(tiny_once)
            adversary = adversary(model) if callable(adversary) else adversary
            adversary.objective = objective
            sets = [training_set("real", seed=0), training_set("virtual", seed=1)]
            schedule = Schedule(1, 2, lr=1e-3)
            return Trainer(model, DEFENSES[defense](**options), sets, schedule, ReidLoss(), compute, 0, adversary)

        return trainer

    @pytest.fixture
    def aims(self, monkeypatch):
        """The aims that the adversary is given, for the source and the virtual set in turn."""
        given, perturb = [], Pool.perturb

        def recording(self, images, random, shares=None, aim=None):
            given.append(aim)
            return perturb(self, images, random, shares, aim)

        monkeypatch.setattr(Pool, "perturb", recording)
        return given

    def epoch(self, trainer):
        trainer._epoch(0, Run(None, None, {}))

    def frozen(self):
        return Pool([attacks.create(0, EPS, EPS, 32, 16)])

    @pytest.mark.parametrize("defense", ["mixed", "fare", "trades"])
    def test_has_no_aim_where_nobody_asks(self, build, aims, defense):
        self.epoch(build(defense, self.frozen()))
        assert aims == [None] * 4

    def test_aims_by_the_batch_as_the_model_sees_it(self, build, aims, training_set):
        trainer = build("gallery", self.frozen())
        _, images, labels, _ = next(trainer.sets[0].epoch(0, 1, CPU.device))
        with torch.no_grad():
            features = copy.deepcopy(trainer.network.model).eval().features(images)
        self.epoch(trainer)
        torch.testing.assert_close(aims[0].clean, features[::2])
        assert aims[0].pids.tolist() == labels[::2].tolist()
        expected = RECIPES["smooth_ap"].objective_on(Reference(features, labels, labels))
        random = torch.rand(4, 64, generator=generator())
        torch.testing.assert_close(
            aims[0].objective(features[::2], random, labels[::2]), expected(features[::2], random, labels[::2])
        )

    def test_aims_by_the_centroids_of_the_start_where_the_defence_does(self, build, aims):
        trainer = build("anchored", self.frozen())
        self.epoch(trainer)
        random = torch.rand(4, 64, generator=generator())
        for aim, virtual in zip(aims, (False, True, False, True), strict=True):
            objective = RECIPES["nearest"].objective_on(trainer.known.of(virtual))
            torch.testing.assert_close(
                aim.objective(random, random, aim.pids), objective(random, random, aim.pids), rtol=1e-5, atol=1e-5
            )

    def test_asks_the_model_for_clean_features_only_where_the_objective_reads_them(self, build, aims):
        cosine = build("anchored", self.frozen(), "cosine")
        _, images, _, _ = next(cosine.sets[0].epoch(0, 1, CPU.device))
        with torch.no_grad():
            features = copy.deepcopy(cosine.network.model).eval().features(images[::2])
        self.epoch(cosine)
        torch.testing.assert_close(aims[0].clean, features)
        nearest = build("anchored", self.frozen())
        self.epoch(nearest)
        torch.testing.assert_close(aims[4].clean, nearest.known.of(False).features[aims[4].pids])

    @pytest.mark.parametrize("objective", ["nearest", "smooth_ap"])
    def test_refuses_an_aim_at_identities_that_the_defence_does_not_know(self, build, objective):
        with pytest.raises(UsageError, match=f"Fare knows no identities, and {objective} needs them"):
            build("fare", self.frozen(), objective)

    def test_lets_the_option_overrule_the_defence(self, build, aims):
        self.epoch(build("anchored", self.frozen(), "loss"))
        assert aims == [None] * 4

    @pytest.mark.parametrize(
        ("defense", "options"),
        [(name, look) for name in ("fare", "anchored", "trades", "gallery") for look in ({}, {"look_ahead": True})],
    )
    def test_every_defence_trains_with_every_adversary(self, build, defense, options):
        def all_of_them(model):
            learnt = [Online(attacks.create(2, EPS, EPS, 32, 16), seed) for seed in (0, 1)]
            return Mixture([self.frozen(), *learnt, PerImage(model, EPS, 1)])

        trainer = build(defense, all_of_them, **options)
        before = copy.deepcopy(trainer.network.state_dict())
        noises = [each.noise.delta.detach().clone() for each in trainer.adversary.members[1:3]]
        self.epoch(trainer)
        assert not torch.equal(trainer.network.model.base.conv1.weight, before["model.base.conv1.weight"])
        for each, noise in zip(trainer.adversary.members[1:3], noises, strict=True):
            assert not torch.equal(each.noise.delta, noise)

    @pytest.mark.parametrize("defense", ["fare", "anchored", "trades", "gallery"])
    def test_the_attacks_of_every_defence_raise_its_loss_more_than_noise(self, build, defense):
        trainer = build(defense, lambda model: PerImage(model, EPS, 4))
        batch, made = trainer._perturbed(0, next(trainer.sets[0].epoch(0, 1, CPU.device)), 0, 0)
        clean, spent = batch.clean[::2], (made - batch.clean[::2]).abs().amax((1, 2, 3), keepdim=True)
        view = View(trainer.network.eval(), trainer.network.weights(), CPU, ReidLoss(), trainer.start, trainer.known)
        with torch.no_grad():
            attacked, noisy = (
                trainer.defense.loss(view, replace(batch, perturbed=images))[0]
                for images in (made, noise_like(clean, spent))
            )
        assert attacked > noisy

    def test_leaves_an_accelerator_one_wait_in_a_step(self, build):
        with accelerator() as device:
            trainer = build("anchored", lambda model: PerImage(model, EPS, 2), compute=Compute(DEVICE, "fp32"))
            self.epoch(trainer)
            device.waits.clear()
            self.epoch(trainer)
            assert len(device.waits) == trainer.schedule.iters_per_epoch
