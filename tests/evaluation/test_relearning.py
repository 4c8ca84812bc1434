"""Attacks learnt on the model under evaluation: convergence, restarts, budgets, and the files that are kept."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reid import attacks
from reid.attacks import Threat
from reid.attacks.image_pgd import FeaturePGD
from reid.attacks.universal.learn import Learner
from reid.attacks.universal.objectives import pull_farthest
from reid.evaluation.relearning import Effort, Relearning, has_converged
from reid.evaluation.experiment import Attacker, _checks
from reid.loading import ImageStore, to_images
from reid.models import Victim
from reid.runtime.device import resolve
from reid.runtime.files import sha256

CPU = resolve("cpu", "fp32")
SIZE = SimpleNamespace(height=16, width=8, workers=1, cache="ram")
THREAT = Threat(6 / 255, 4 / 255)


@pytest.fixture
def samples(draw):
    return draw(16, 8)


@pytest.fixture
def relearning(samples, tmp_path):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    effort = Effort(restarts=2, epochs=2, iters_per_epoch=2, batch_size=8, num_instances=4)
    return Relearning(
        Victim(body), "a hash", "synth-a", samples, SIZE, effort, CPU, seed=5, folder=tmp_path / "attackers"
    )


def learnt(relearning, noise_type=0, threat=THREAT, reuse=False, **changes):
    """The attackers of a Relearning, with some of its fields changed."""
    return list(replace(relearning, **changes).attackers(noise_type, threat, reuse))


def with_losses(monkeypatch, losses):
    """Let the epochs of every restart do nothing and have these losses."""
    monkeypatch.setattr(Learner, "epoch", lambda self, number: {"loss_tr": losses[number]})


def with_effort(relearning, **changes):
    return replace(relearning, effort=replace(relearning.effort, **changes))


def parameters(attacker):
    return dict(attacker.noise.named_parameters())


def same(first, second):
    return all(torch.equal(value, parameters(second)[name]) for name, value in parameters(first).items())


@pytest.mark.parametrize(
    ("losses", "converged"),
    [
        ([], False),
        ([5.0], False),
        ([5.0, 5.0], False),
        ([5.0, 5.0, 5.0], True),
        ([10.0, 9.0, 8.0], False),
        ([10.0, 9.95, 9.91], True),
        ([10.0, 9.95, 9.89], False),
        ([10.0, 9.89, 9.95], False),
        ([5.0, 10.0, 12.0], True),
        ([10.0, 5.0, 5.1, 5.2], True),
        ([10.0, 5.1, 5.0, 4.99], False),
        ([10.0, 10.0, 10.0, 5.0], False),
        ([0.0, 0.0, 0.0], True),
    ],
)
def test_a_loss_has_converged_once_two_epochs_gain_no_hundredth(losses, converged):
    assert has_converged(losses) is converged


def test_learning_ends_once_the_loss_has_converged(relearning, monkeypatch):
    with_losses(monkeypatch, [9.0, 5.0, 5.0, 4.99, 1.0, 1.0])
    for attacker in learnt(with_effort(relearning, epochs=6)):
        assert attacker.provenance["losses"] == [9.0, 5.0, 5.0, 4.99]
        assert attacker.provenance["converged"] is True


def test_learning_ends_after_the_last_epoch_and_says_that_it_has_not_converged(relearning, monkeypatch, caplog):
    caplog.set_level("INFO")
    with_losses(monkeypatch, [9.0, 8.0, 7.0])
    (attacker,) = learnt(with_effort(relearning, epochs=3, restarts=1))
    assert attacker.provenance["losses"] == [9.0, 8.0, 7.0]
    assert attacker.provenance["converged"] is False
    assert "not converged: it may get stronger with more --adaptive-epochs" in caplog.text
    (_, check) = _checks(attacker, attacker.noise.measure(torch.rand(1, 3, 16, 8)), THREAT.to_dict())
    assert check == {"name": "converged", "passed": False, "detail": "loss 7.000 after 3 epochs, lowest 7.000"}


def test_an_attack_that_was_not_learnt_has_only_its_budget_checked():
    attacker = Attacker("PGD", FeaturePGD(lambda images: images.mean((2, 3)), 8 / 255, 1))
    _, spent = attacker.noise.attack(torch.rand(2, 3, 4, 2))
    assert [check["name"] for check in _checks(attacker, spent, attacker.noise.threat.to_dict())] == ["budget"]
    assert _checks(Attacker("clean"), {}, {}) == []


def test_the_first_restart_begins_at_the_identity_and_the_others_anywhere_in_the_budget(relearning, monkeypatch):
    with_losses(monkeypatch, [1.0, 1.0])
    first, second, third = learnt(with_effort(relearning, restarts=3))
    images = torch.rand(4, 3, 16, 8)
    assert first.noise.measure(images)["total"] == 0
    for other in (second, third):
        assert 0.9 * THREAT.eps_delta < parameters(other)["layer_01.delta"].abs().max() <= THREAT.eps_delta
        assert 0.5 * THREAT.eps_color < other.noise.measure(images)["color"] <= THREAT.eps_color + 1e-6
    assert not same(second, third)


@pytest.mark.parametrize("noise_type", [0, 1, 2])
def test_what_is_learnt_lowers_the_loss_within_the_budget(noise_type, relearning, samples):
    images = to_images(ImageStore(samples, 16, 8).batch(range(len(samples))), CPU.device)
    pids = torch.tensor([sample.pid for sample in samples])
    clean = relearning.victim(images)
    for attacker in learnt(with_effort(relearning, epochs=3, iters_per_epoch=8), noise_type):
        perturbed = relearning.victim(attacker.noise(images))
        assert pull_farthest(clean, perturbed, pids) < pull_farthest(clean, clean, pids)
        spent = attacker.noise.measure(images)
        for component, types in (("color", (0, 1)), ("delta", (0, 2))):
            assert (spent[component] > 0) == (noise_type in types)
            assert spent[component] <= getattr(THREAT, f"eps_{component}") + 1e-6


@pytest.mark.parametrize("noise_type", [0, 1, 2])
def test_each_restart_is_kept_as_an_attacker_file_of_the_same_threat(noise_type, relearning):
    found = learnt(relearning, noise_type)
    files = sorted(relearning.folder.iterdir())
    assert [path.name.rpartition("-")[0] for path in files] == [
        f"relearnt-type{noise_type}-restart{restart}" for restart in (1, 2)
    ]
    for restart, (attacker, path) in enumerate(zip(found, files, strict=True), 1):
        assert attacker.name == f"re-learnt type {noise_type}, restart {restart} of 2"
        assert attacker.sha256 == sha256(path)
        loaded = attacks.load(path)
        wanted = attacks.create(noise_type, THREAT.eps_color, THREAT.eps_delta).threat
        assert (loaded.noise_type, loaded.threat) == (noise_type, wanted)
        assert loaded.provenance["victim_sha256"] == "a hash"
        assert same(attacker, Attacker("loaded", loaded))


def test_the_same_seed_gives_the_same_files_and_another_seed_others(relearning, tmp_path):
    folders = {name: tmp_path / name for name in ("first", "again", "other")}
    found = {name: learnt(relearning, folder=folder) for name, folder in folders.items() if name != "other"}
    found["other"] = learnt(relearning, folder=folders["other"], seed=6)
    contents = {name: {p.name: sha256(p) for p in folder.iterdir()} for name, folder in folders.items()}
    assert all(same(a, b) for a, b in zip(found["first"], found["again"], strict=True))
    assert not any(same(a, b) for a, b in zip(found["first"], found["other"], strict=True))
    assert contents["first"].keys() == contents["again"].keys()
    assert not contents["first"].keys() & contents["other"].keys()
    assert contents["first"] == contents["again"]


def test_a_restart_does_not_depend_on_how_many_others_there_are(relearning):
    few, many = (learnt(with_effort(relearning, restarts=restarts)) for restarts in (2, 3))
    assert len(list(relearning.folder.iterdir())) == 3
    assert same(few[0], many[0])
    assert same(few[1], many[1])


def test_reuse_takes_what_is_there_and_learns_what_is_not(relearning):
    before = learnt(relearning)
    times = {path: path.stat().st_mtime_ns for path in relearning.folder.iterdir()}
    after = learnt(with_effort(relearning, restarts=3), reuse=True)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [a.sha256 for a in after[:2]] == [b.sha256 for b in before]
    assert len(list(relearning.folder.iterdir())) == 3
    learnt(relearning)
    assert all(path.stat().st_mtime_ns > then for path, then in times.items())


def test_everything_that_changes_what_is_learnt_gives_another_file(relearning, samples):
    learnt(relearning)
    learnt(relearning, noise_type=2)
    learnt(relearning, threat=Threat(6 / 255, 5 / 255))
    learnt(relearning, victim_sha256="another hash")
    learnt(relearning, samples=samples[:9])
    learnt(relearning, seed=6)
    learnt(with_effort(relearning, epochs=1))
    learnt(with_effort(relearning, iters_per_epoch=1))
    learnt(with_effort(relearning, batch_size=4, num_instances=2))
    learnt(relearning, images=SimpleNamespace(height=8, width=8, workers=1, cache="ram"))
    assert len(list(relearning.folder.iterdir())) == 2 * 10
    learnt(relearning, images=SimpleNamespace(height=16, width=8, workers=2, cache="none"))
    assert len(list(relearning.folder.iterdir())) == 2 * 10
