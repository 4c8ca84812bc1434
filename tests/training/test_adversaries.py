"""Adversaries: frozen files, a perturbation that learns as it goes, and one for each image."""

import io

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reid import UsageError, attacks
from reid.attacks import Threat, controls
from reid.attacks.image.pgd import PGD
from reid.training.adversaries import AdversaryOptions
from reid.training.adversaries.base import Adversary, random_shares
from reid.training.adversaries.per_image import PerImage
from reid.training.adversaries.universal import Online, Pool
from reid.training.losses import hard_triplet

EPS = 8 / 255
HEIGHT, WIDTH = 32, 16


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise_of(noise_type, eps=EPS):
    return attacks.create(noise_type, eps, eps, HEIGHT, WIDTH)


def test_shares_of_the_budget_are_random_below_one_and_larger_ones_more_frequent():
    """With density 2s in [0, 1), one for each image."""
    drawn = random_shares(torch.empty(20_000, 3, 1, 1), generator())
    assert drawn.shape == (20_000, 1, 1, 1)
    assert 0 <= drawn.min() < 0.05
    assert 0.99 < drawn.max() < 1
    for share in (0.25, 0.5, 0.75):
        assert (drawn < share).float().mean().item() == pytest.approx(share**2, abs=0.02)
    assert torch.equal(drawn, random_shares(torch.empty(20_000, 3, 1, 1), generator()))


def test_the_least_share_of_the_budget_moves_all_others_up():
    drawn, upper = (random_shares(torch.empty(1000, 3, 1, 1), generator(), least) for least in (0.0, 0.6))
    torch.testing.assert_close(upper, 0.6 + 0.4 * drawn)
    assert (random_shares(torch.empty(1000, 3, 1, 1), generator(), 1.0) == 1).all()


@pytest.mark.parametrize("attackers", [("online",), ("pgd",), ("pool",), ("online", "online-delta", "pgd")])
def test_all_images_get_the_whole_budget_where_no_share_is_less(tiny, clean, attackers):
    """Somewhere on each image, its change is about as large as the budget; unless told, it is drawn below that."""

    def largest(least):
        options = AdversaryOptions(attacker=attackers, least_share=least, noise_type=2)
        adversary = options.adversary(tiny, [noise_of(2).randomise_(generator())], (HEIGHT, WIDTH), torch.device("cpu"))
        grey = torch.full_like(clean, 0.5)
        return (adversary.perturb(grey, generator()) - grey).abs().amax((1, 2, 3))

    assert (largest(1.0) >= 0.98 * EPS).all()
    assert (largest(0.0) < largest(1.0)).all()


class TestPool:
    def noises(self):
        """Two of different kind, told apart by what they do: one brightens, one changes colours at random."""
        delta = noise_of(2)
        with torch.no_grad():
            delta.delta.fill_(EPS)
        return [delta, controls.random_lut(Threat(EPS, 0), 0)]

    def test_draws_one_file_for_each_batch(self, clean):
        pool = Pool(self.noises())
        brightened = [bool((pool.perturb(clean, generator(seed)) >= clean).all()) for seed in range(20)]
        assert 5 <= sum(brightened) <= 15

    def test_of_one_is_the_frozen_adversary(self, clean):
        """Its change is a share of the file's, the same share for every pixel of an image."""
        noise = self.noises()[0]
        change, full = Pool([noise]).perturb(clean, generator()) - clean, noise(clean).detach() - clean
        shares = change.amax((1, 2, 3)) / EPS
        assert len(shares.unique()) == len(shares)
        torch.testing.assert_close(change, shares[:, None, None, None] * full, rtol=0, atol=1e-6)

    def test_learns_nothing_and_has_no_state(self, clean):
        pool = Pool(self.noises())
        before = [value.clone() for noise in pool.perturbations for value in noise.parameters()]
        pool.learn([pool.perturb(clean, generator())], [torch.ones_like(clean)])
        after = [value for noise in pool.perturbations for value in noise.parameters()]
        assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
        assert pool.state_dict() == {}
        pool.load_state_dict({})

    def test_a_model_is_selected_by_all_of_them_at_full_budget(self):
        noises = self.noises()
        assert Pool(noises).attacks() == noises


@pytest.mark.parametrize("noise_type", [0, 1, 2])
class TestOnline:
    def loss(self, model, images, labels):
        """What training minimises: here the triplet loss, with a margin that no triplet reaches."""
        return hard_triplet(model.eval().features(images), labels, margin=20.0)[0]

    def learn(self, attacker, model, clean, labels, seeds):
        for seed in seeds:
            made = attacker.perturb(clean, generator(seed))
            leaf = made.detach().requires_grad_()
            attacker.learn([made], torch.autograd.grad(self.loss(model, leaf, labels), [leaf]))

    def inside(self, noise):
        boxes = noise.boxes()
        return all(((p >= boxes[n].lower) & (p <= boxes[n].upper)).all() for n, p in noise.named_parameters())

    def test_starts_anywhere_in_its_budget(self, noise_type):
        noise, again, other = (Online(noise_of(noise_type), seed).noise for seed in (0, 0, 1))
        for (name, box), p in zip(noise.boxes().items(), noise.parameters(), strict=True):
            share = (p - box.lower) / (box.upper - box.lower)
            assert share.mean().item() == pytest.approx(0.5, abs=0.05)
            assert share.min() < 0.05, name
            assert share.max() > 0.95, name
        assert self.inside(noise)
        assert all(torch.equal(*pair) for pair in zip(noise.parameters(), again.parameters(), strict=True))
        assert not any(torch.equal(*pair) for pair in zip(noise.parameters(), other.parameters(), strict=True))

    def test_climbs_the_loss_of_training(self, noise_type, tiny, clean, labels):
        attacker = Online(noise_of(noise_type), seed=0)
        with torch.no_grad():
            before = self.loss(tiny, attacker.noise(clean), labels).item()
        self.learn(attacker, tiny, clean, labels, range(10))
        with torch.no_grad():
            assert self.loss(tiny, attacker.noise(clean), labels).item() > before * 1.005

    def test_a_step_is_a_tenth_of_the_budget_uphill(self, noise_type, tiny, clean, labels):
        attacker = Online(noise_of(noise_type), seed=0)
        noise = attacker.noise
        before = {name: p.detach().clone() for name, p in noise.named_parameters()}
        made = attacker.perturb(clean, generator(3))
        uphill = torch.autograd.grad(self.loss(tiny, made, labels), list(noise.parameters()))
        self.learn(attacker, tiny, clean, labels, [3])
        for (name, p), gradient in zip(noise.named_parameters(), uphill, strict=True):
            box = noise.boxes()[name]
            expected = (before[name] + 0.1 * EPS * gradient.sign()).clamp(box.lower, box.upper)
            differ = (p - expected).abs() > 1e-7  # where the gradient is zero up to rounding its sign is chance
            assert differ.float().mean() < 0.002
            assert not torch.equal(p, before[name])

    def test_gradients_of_several_batches_add_up(self, noise_type, clean):
        one, two = (Online(noise_of(noise_type), seed=0) for _ in range(2))
        weight = torch.randn(clean.shape, generator=generator(1))
        one.learn([one.perturb(clean, generator())], [weight])
        two.learn([two.perturb(clean, generator()), two.perturb(clean, generator())], [3 * weight, -2 * weight.clone()])
        for a, b in zip(one.noise.parameters(), two.noise.parameters(), strict=True):
            assert ((a - b).abs() > 1e-7).float().mean() < 0.002

    def test_keeps_the_budget_after_every_step(self, noise_type, tiny, clean, labels):
        attacker = Online(noise_of(noise_type), seed=0)
        for seed in range(4):
            self.learn(attacker, tiny, clean, labels, [seed])
            assert self.inside(attacker.noise)
            spent = attacker.noise.measure(clean)
            assert spent["total"] <= attacker.noise.threat.eps_total + 1e-6

    def test_leaves_the_images_and_no_gradient_behind(self, noise_type, tiny, clean, labels):
        attacker, before = Online(noise_of(noise_type), seed=0), clean.clone()
        self.learn(attacker, tiny, clean, labels, range(2))
        assert torch.equal(clean, before)
        assert all(p.grad is None for p in attacker.noise.parameters())

    def test_goes_on_bitwise_from_what_was_saved(self, noise_type, tiny, clean, labels):
        straight = Online(noise_of(noise_type), seed=0)
        self.learn(straight, tiny, clean, labels, range(4))

        first = Online(noise_of(noise_type), seed=0)
        self.learn(first, tiny, clean, labels, range(2))
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second = Online(noise_of(noise_type), seed=9)
        second.load_state_dict(torch.load(file, weights_only=True))
        self.learn(second, tiny, clean, labels, range(2, 4))
        assert all(torch.equal(*p) for p in zip(straight.noise.parameters(), second.noise.parameters(), strict=True))

    def test_a_model_is_selected_by_it_as_it_now_is_at_full_budget(self, noise_type, clean):
        attacker = Online(noise_of(noise_type), seed=0)
        (attack,) = attacker.attacks()
        assert torch.equal(attack(clean), attacker.noise(clean))


class WeightGradients(TorchDispatchMode):
    """Whether each backward pass of a convolution computes the gradient of its weight."""

    def __init__(self):
        super().__init__()
        self.computed = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.computed.append(args[-1][1])
        return func(*args, **(kwargs or {}))


class TestPerImage:
    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_the_model_as_it_was(self, tiny, clean, training):
        tiny.train(training)
        before = {name: value.clone() for name, value in tiny.state_dict().items()}
        learnt = [p.requires_grad for p in tiny.parameters()]
        PerImage(tiny, EPS, steps=2).perturb(clean, generator())
        assert all(module.training == training for module in tiny.modules())
        assert [p.requires_grad for p in tiny.parameters()] == learnt
        assert not all(learnt)  # one that is frozen stays so
        assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
        assert all(p.grad is None for p in tiny.parameters())

    def test_computes_no_gradient_of_the_weights(self, tiny, clean):
        with WeightGradients() as attack:
            PerImage(tiny, EPS, steps=2).perturb(clean, generator())
        with WeightGradients() as training:
            tiny(clean)[1].sum().backward()
        assert set(attack.computed) == {False}
        assert set(training.computed) == {True}

    def test_is_the_same_where_activations_are_computed_again(self, tiny, clean):
        for _ in range(3):  # running statistics unlike those of the batch
            tiny(0.3 * clean)
        perturbed = []
        for recompute in (False, True):
            tiny.recompute_activations = recompute
            perturbed.append(PerImage(tiny.train(), EPS, steps=3).perturb(clean, generator()))
        plain, again = perturbed
        assert not torch.equal(plain, clean)
        assert ((plain - again).abs() > 1e-6).float().mean() < 0.001

    def test_attacks_the_model_in_the_mode_of_inference(self, tiny, clean):
        """Dropout and the other images of the batch have no say: half a batch gives half of the images."""
        training, inference = (PerImage(tiny.train(mode), EPS, 2).perturb(clean, generator()) for mode in (True, False))
        assert torch.equal(training, inference)

    def test_moves_features_farther_than_random_noise_of_equal_budget(self, tiny, clean):
        budgets = EPS * random_shares(clean, generator())
        tiny.eval()
        perturbed = PerImage(tiny, EPS, steps=4).perturb(clean, generator())
        coin = torch.randn(clean.shape, generator=generator(1)).sign()
        random = (clean + budgets * coin).clamp(0, 1)
        assert ((perturbed - clean).abs().amax((1, 2, 3)) <= budgets.flatten() + 1e-6).all()
        with torch.no_grad():
            here, there, nearby = (tiny.features(x) for x in (clean, perturbed, random))
        assert ((there - here).norm(dim=1) > 2 * (nearby - here).norm(dim=1)).all()

    def test_a_model_is_selected_by_the_same_attack_at_full_budget(self, tiny):
        (attack,) = PerImage(tiny, EPS, steps=3).attacks()
        assert isinstance(attack, PGD)
        assert (attack.eps, attack.steps) == (EPS, 3)


def read_perturbations(paths, eps, noise_type):
    """For a frozen adversary of a type, or for a pool, whose files may be of any."""
    attacker = "pool" if noise_type is None else "frozen"
    options = AdversaryOptions((attacker,), paths, noise_type or 0, eps)
    return options.perturbations(torch.device("cpu"))


class TestReadPerturbations:
    @pytest.fixture
    def files(self, tmp_path):
        """Attacker files of the three types, at 8/255 per component."""
        for noise_type in range(3):
            attacks.save(tmp_path / f"type{noise_type}.pth", noise_of(noise_type), {})
        return [str(tmp_path / f"type{noise_type}.pth") for noise_type in range(3)]

    def test_reads_several_of_any_type(self, files):
        assert [noise.noise_type for noise in read_perturbations(files, EPS, None)] == [0, 1, 2]

    def test_reads_one_of_the_type_that_is_asked_for(self, files):
        (noise,) = read_perturbations(files[1:2], EPS, 1)
        assert noise.threat == Threat(EPS, 0.0)

    @pytest.mark.parametrize(("noise_type", "wanted"), [(0, 2), (1, 0), (2, 1)])
    def test_another_type_is_refused(self, files, noise_type, wanted):
        with pytest.raises(UsageError, match=rf"is of noise type {noise_type}, not {wanted}") as caught:
            read_perturbations([files[noise_type]], EPS, wanted)
        assert str(caught.value).startswith(files[noise_type])
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("noise_type", [0, 1, 2])
    def test_a_larger_budget_is_refused(self, files, noise_type):
        with pytest.raises(UsageError, match=r"8/255.* more than --max-eps 4/255") as caught:
            read_perturbations([files[noise_type]], 4 / 255, None)
        assert str(caught.value).startswith(files[noise_type])
        assert "\n" not in str(caught.value)

    def test_a_bad_one_among_good_ones_is_the_one_that_is_named(self, files, tmp_path):
        large = str(tmp_path / "large.pth")
        attacks.save(large, noise_of(2, eps=16 / 255), {})
        with pytest.raises(UsageError, match=r"large\.pth is another threat"):
            read_perturbations([*files, large], EPS, None)

    def test_a_smaller_budget_is_kept(self, tmp_path):
        attacks.save(tmp_path / "small.pth", noise_of(0, eps=2 / 255), {})
        (noise,) = read_perturbations([str(tmp_path / "small.pth")], EPS, 0)
        assert noise.threat == Threat(2 / 255, 2 / 255)


def test_an_adversary_must_say_what_it_does(clean):
    with pytest.raises(NotImplementedError):
        Adversary().perturb(clean, generator())
    with pytest.raises(NotImplementedError):
        Adversary().attacks()
