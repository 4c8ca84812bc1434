import copy
import io
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from accelerator import DEVICE, accelerator
from torch import nn
from torch.nn.functional import avg_pool2d

from reid import UsageError, attacks
from reid.attacks.universal import RECIPES
from reid.attacks.universal.objectives import pull_farthest
from reid.attacks.universal.recipes import META_MODES
from reid.attacks.universal.step import KnownImages, meta_step

EPS = 8 / 255
LR = EPS / 10
HEIGHT, WIDTH = 16, 8


def toy(weight, cell):
    """The victim of the golden trace: pooled, normalised pixels through one layer. Like the released attack script,
    and unlike the released colour table, it cuts images to [0, 1] first."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def victim(x):
        x = (x.clamp(0, 1) - mean[:, None, None]) / std[:, None, None]
        return torch.tanh(avg_pool2d(x, cell).flatten(1) @ weight.T)

    return victim


def batch(victim, seed, height=HEIGHT, width=WIDTH, pids=4, instances=4):
    shape = (pids * instances, 3, height, width)
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)) / 255
    with torch.no_grad():
        return KnownImages(images, torch.arange(pids).repeat_interleave(instances), victim(images))


@pytest.fixture
def victim():
    weight = torch.randn(8, 3 * 4 * 2, generator=torch.Generator().manual_seed(0)) / 3
    return toy(weight, 4)


def attack(noise_type):
    noise = attacks.create(noise_type, EPS, EPS, HEIGHT, WIDTH)
    return noise, attacks.MISGD(noise.parameters(), lr=LR)


def by_recipe(name, noise):
    """The optimiser and the mode of a recipe, as a run has them in its first epoch."""
    recipe = RECIPES[name]
    return recipe.optimizer(noise.step_groups(recipe.fraction)), recipe.meta


def run(noise, optimizer, victim, mode, iterations):
    losses = []
    for i in iterations:
        virtual = None if mode == "none" else batch(victim, 500 + i)
        losses.append(meta_step(noise, victim, batch(victim, i), virtual, optimizer, mode))
    return losses


def values(noise):
    return {name: p.detach().clone() for name, p in noise.named_parameters()}


def objective(noise, victim, data):
    """Loss on a batch and its gradients, nothing but plain autograd on a copy."""
    noise = copy.deepcopy(noise)
    loss = pull_farthest(data.clean_features, victim(noise(data.images)), data.pids)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in noise.named_parameters()}


class Recorder:
    """A victim that keeps a copy of the live parameters at each of its calls."""

    def __init__(self, victim, noise):
        self.victim, self.noise, self.seen = victim, noise, []

    def __call__(self, x):
        self.seen.append(values(self.noise))
        return self.victim(x)


@pytest.mark.parametrize("noise_type", [0, 1, 2])
class TestAlternating:
    def test_follows_the_trace_of_the_released_code(self, golden, noise_type):
        """The released code stores parameters before, we after, their projection: its numbers are projected here."""
        trace = golden("alternating_trace")
        victim, seed = toy(trace["weight"], 16), trace["seed"].item()
        noise = attacks.create(noise_type)
        optimizer, mode = by_recipe("alternating", noise)
        for i in range(4):
            source, virtual = (batch(victim, seed * 1000 + start + i, 256, 128) for start in (0, 500))
            losses = meta_step(noise, victim, source, virtual, optimizer, mode)
            assert losses["loss_tr"].item() == pytest.approx(trace[f"type{noise_type}/loss_tr"][i].item(), abs=5e-4)
            if i in (0, 3):
                expected = noise.projected({k: trace[f"type{noise_type}/step{i}/{k}"] for k in noise.state_dict()})
                for name, value in values(noise).items():
                    assert ((value - expected[name]).abs() > 1e-6).float().mean() <= 0.003

    def test_the_inner_step_persists(self, victim, noise_type):
        noise, optimizer = attack(noise_type)
        recorder = Recorder(victim, noise)
        meta_step(noise, recorder, batch(victim, 0), batch(victim, 1), optimizer, "alternating")
        at_source, at_virtual = recorder.seen
        assert not any(torch.equal(at_source[name], at_virtual[name]) for name in at_source)


@pytest.mark.parametrize("noise_type", [0, 1, 2])
class TestMaml:
    def test_the_inner_step_does_not_move_the_live_parameters(self, victim, noise_type):
        noise, optimizer = attack(noise_type)
        recorder = Recorder(victim, noise)
        before = values(noise)
        meta_step(noise, recorder, batch(victim, 0), batch(victim, 1), optimizer, "maml")
        for seen in recorder.seen:
            assert all(torch.equal(seen[name], before[name]) for name in before)

    @pytest.mark.parametrize("saturated", [False, True])
    def test_the_outer_gradient_is_the_literal_one(self, victim, noise_type, saturated, monkeypatch):
        noise, optimizer = attack(noise_type)
        source, virtual = batch(victim, 0), batch(victim, 1)
        if saturated:  # then about half of the inner step is clipped
            noise = {0: attacks.controls.random_both, 1: attacks.controls.random_lut, 2: attacks.controls.random_sign}[
                noise_type
            ](attacks.Threat(EPS, EPS), 0, *(() if noise_type == 1 else (HEIGHT, WIDTH)))
            optimizer = attacks.MISGD(noise.parameters(), lr=LR)
        loss_tr, g_tr = objective(noise, victim, source)
        moved = {name: p - LR * g_tr[name].sign() for name, p in values(noise).items()}
        boxes = noise.boxes()
        free = {name: (p >= boxes[name].lower) & (p <= boxes[name].upper) for name, p in moved.items()}
        there = copy.deepcopy(noise)
        there.load_state_dict(moved)
        loss_te, g_te = objective(there.project_(), victim, virtual)
        expected = {name: g_tr[name] + torch.where(free[name], g_te[name], 0.0) for name in g_tr}

        got = {}
        step = optimizer.step
        monkeypatch.setattr(
            optimizer, "step", lambda: (got.update({n: p.grad.clone() for n, p in noise.named_parameters()}), step())
        )
        losses = meta_step(noise, victim, source, virtual, optimizer, "maml")
        assert losses["loss_tr"].item() == pytest.approx(loss_tr.item(), abs=1e-6)
        assert losses["loss_te"].item() == pytest.approx(loss_te.item(), abs=1e-6)
        for name in expected:
            torch.testing.assert_close(got[name], expected[name], rtol=1e-5, atol=1e-7)
            if saturated:
                assert 0.2 < free[name].float().mean() < 0.8

    def test_the_outer_step_starts_from_the_live_parameters(self, victim, noise_type):
        noise, optimizer = attack(noise_type)
        before = values(noise)
        meta_step(noise, victim, batch(victim, 0), batch(victim, 1), optimizer, "maml")
        for name, value in values(noise).items():
            assert (value - before[name]).abs().max() <= LR * 1.0001
            assert not torch.equal(value, before[name])


@pytest.mark.parametrize("noise_type", [0, 1, 2])
class TestNone:
    def test_is_the_plain_universal_attack(self, victim, noise_type):
        noise, optimizer = attack(noise_type)
        plain, plain_optimizer = attack(noise_type)
        for i in range(3):
            losses = meta_step(noise, victim, batch(victim, i), None, optimizer, "none")
            loss, gradients = objective(plain, victim, batch(victim, i))
            assert losses.keys() == {"loss_tr"}
            assert losses["loss_tr"].item() == pytest.approx(loss.item(), abs=1e-6)
            for name, parameter in plain.named_parameters():
                parameter.grad = gradients[name]
            plain_optimizer.step()
            plain.project_()
        assert all(torch.equal(a, b) for a, b in zip(noise.parameters(), plain.parameters(), strict=True))

    def test_with_a_virtual_batch_both_gradients_are_taken_at_the_same_place(self, victim, noise_type):
        noise, optimizer = attack(noise_type)
        source, virtual = batch(victim, 0), batch(victim, 1)
        (_, g_tr), (loss_te, g_te) = objective(noise, victim, source), objective(noise, victim, virtual)
        before = values(noise)
        losses = meta_step(noise, victim, source, virtual, optimizer, "none")
        assert losses["loss_te"].item() == pytest.approx(loss_te.item(), abs=1e-6)
        stepped = noise.projected({n: before[n] - LR * (g_tr[n] + g_te[n]).sign() for n in before})
        assert all(torch.equal(value, stepped[name]) for name, value in values(noise).items())


@pytest.mark.parametrize("mode", META_MODES)
@pytest.mark.parametrize("noise_type", [0, 1, 2])
class TestEveryMode:
    def test_learns_and_stays_inside_the_budget(self, victim, mode, noise_type):
        noise, optimizer = attack(noise_type)
        source, virtual = batch(victim, 0), None if mode == "none" else batch(victim, 1)
        losses = [meta_step(noise, victim, source, virtual, optimizer, mode) for _ in range(12)]
        for name in losses[0]:
            assert losses[-1][name] < losses[0][name] - 0.1
        for name, box in noise.boxes().items():
            parameter = values(noise)[name]
            assert ((parameter >= box.lower) & (parameter <= box.upper)).all()

    def test_goes_on_exactly_from_what_was_saved(self, victim, mode, noise_type):
        straight, optimizer = attack(noise_type)
        run(straight, optimizer, victim, mode, range(4))

        first, optimizer = attack(noise_type)
        run(first, optimizer, victim, mode, range(2))
        file = io.BytesIO()
        torch.save({"noise": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
        second, optimizer = attack(noise_type)
        second.load_state_dict(saved["noise"])
        optimizer.load_state_dict(saved["optimizer"])
        run(second, optimizer, victim, mode, range(2, 4))
        assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), second.parameters(), strict=True))

    def test_waits_for_an_accelerator_once_in_a_run_to_check_the_images(self, mode, noise_type):
        batches = [batch(ConvVictim().eval(), seed) for seed in range(1 if mode == "none" else 2)]
        with accelerator() as device:
            victim, noise = ConvVictim().eval().requires_grad_(False).to(DEVICE), attack(noise_type)[0].to(DEVICE)
            there = [KnownImages(each.images.to(DEVICE), each.pids, each.clean_features.to(DEVICE)) for each in batches]
            optimizer = attacks.MISGD(noise.parameters(), lr=LR)
            waits = []
            for _ in range(3):
                device.waits.clear()
                meta_step(noise, victim, *there, *[None] * (mode == "none"), optimizer, mode)
                waits.append(len(device.waits))
            assert waits == [1, 0, 0]


class ConvVictim(nn.Module):
    """A small network with everything an attack could disturb: weights, BatchNorm statistics, dropout, modes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(2)
        )

    def forward(self, x):
        return self.body(x).flatten(1)


@pytest.mark.parametrize("mode", META_MODES)
def test_nothing_but_the_perturbation_changes(mode):
    torch.manual_seed(0)
    victim = ConvVictim().eval().requires_grad_(False)
    noise, optimizer = attack(0)
    source, virtual = batch(victim, 0), None if mode == "none" else batch(victim, 1)
    untouched = copy.deepcopy((victim.state_dict(), source, virtual))
    meta_step(noise, victim, source, virtual, optimizer, mode)
    state, *batches = untouched
    assert all(torch.equal(value, state[name]) for name, value in victim.state_dict().items())
    assert all(p.grad is None for p in victim.parameters())
    assert not any(module.training for module in victim.modules())
    for given, kept in zip((source, virtual), batches, strict=True):
        if given is not None:
            assert torch.equal(given.images, kept.images)
            assert torch.equal(given.clean_features, kept.clean_features)
    assert all(p.grad is None for p in noise.parameters())


def test_losses_carry_no_graph(victim):
    noise, optimizer = attack(2)
    losses = meta_step(noise, victim, batch(victim, 0), batch(victim, 1), optimizer)
    assert set(losses) == {"loss_tr", "loss_te"}
    assert not any(loss.requires_grad for loss in losses.values())


def test_only_the_victim_runs_in_lower_precision(victim):
    noise, optimizer = attack(2)
    source, virtual = batch(victim, 0), batch(victim, 1)
    inside = []

    @contextmanager
    def autocast():
        inside.append(True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            yield

    dtypes = []

    def watched(x):
        features = victim(x)
        dtypes.append((x.dtype, (x.flatten(1) @ x.flatten(1).T).dtype))
        return features.bfloat16()

    losses = meta_step(noise, watched, source, virtual, optimizer, "maml", autocast)
    assert len(inside) == 2
    assert dtypes == [(torch.float32, torch.bfloat16)] * 2
    assert all(loss.dtype == torch.float32 for loss in losses.values())


def test_what_cannot_work_is_refused(victim):
    noise, optimizer = attack(2)
    data = batch(victim, 0)
    with pytest.raises(UsageError, match="maml, alternating, none"):
        meta_step(noise, victim, data, data, optimizer, "reptile")
    for mode in ("maml", "alternating"):
        with pytest.raises(UsageError, match="needs a virtual dataset"):
            meta_step(noise, victim, data, None, optimizer, mode)
    with pytest.raises(UsageError, match="two identities"):
        meta_step(noise, victim, batch(victim, 0, pids=1), None, optimizer, "none")
