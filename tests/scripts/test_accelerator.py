"""The scripts on a device that is not the CPU: all is where it has to be, and the results are those of the CPU."""

import json
from contextlib import nullcontext

import pytest
import torch
from accelerator import DEVICE, accelerator

import evaluate
import metaAttack
import metaDefense
import trainReid
from reid import attacks
from reid.evaluation import comparison
from reid.evaluation.results import read_results
from reid.runtime import device as devices


@pytest.fixture
def on_both(monkeypatch, tmp_path):
    """`on_both(main, options, folder option)`: the folders of a run on the CPU and of one on DEVICE.

    One thread ranks, so attackers and scores are equal to the last bit.
    What is trained is not: gradients are added up in another order there, and Adam makes much of little.
    """
    monkeypatch.setattr(devices, "DEVICE_TYPES", (*devices.DEVICE_TYPES, DEVICE.type))
    monkeypatch.setattr(comparison, "in_threads", lambda function, pieces, device: map(function, pieces))

    def run(main, options, folder_option):
        folders = tmp_path / "cpu", tmp_path / DEVICE.type
        for folder, place in zip(folders, (nullcontext(), accelerator()), strict=True):
            with place as device:
                main([*options, folder_option, str(folder), "--device", folder.name, "--precision", "fp32"])
        assert device.waits  # it was used
        return folders

    return run


@pytest.mark.parametrize(
    "mixed",
    [
        lambda here, there: there + here,
        lambda here, there: here.index_select(0, there.long()),
        lambda here, there: there.index_select(0, here.long()),
        lambda here, there: there.uniform_(generator=torch.Generator()),
        lambda here, there: torch.stack([here.sum(), there.sum()]),
        lambda here, there: there.to("cpu", non_blocking=True),
        lambda here, there: here.copy_(there, non_blocking=True),
        lambda here, there: there.numpy(),
    ],
)
def test_the_device_refuses_what_a_gpu_refuses(mixed):
    with accelerator(), pytest.raises((RuntimeError, TypeError)):
        mixed(torch.ones(2), torch.ones(2, device=DEVICE))


def logged(folder):
    """Losses and other numbers of each epoch, without the times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_same_epochs(folders):
    assert logged(folders[0])
    for here, there in zip(*map(logged, folders), strict=True):
        assert there == pytest.approx(here, rel=0.05)


def test_training(on_both, train_options):
    assert_same_epochs(on_both(trainReid.main, train_options, "--logs_dir"))


@pytest.mark.parametrize(("noise_type", "meta"), [(0, "maml"), (1, "alternating"), (2, "none")])
def test_attack(on_both, attack_options, noise_type, meta):
    options = [*attack_options, "--noise_type", str(noise_type), "--meta", meta, "--epoch", "1"]
    here, there = on_both(metaAttack.main, options, "--noise_resume")
    first, second = (attacks.load(folder / "best_perturbation0.pth").state_dict() for folder in (here, there))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("extra", [["--checkpointing"], ["--inner-order", "first"]])
def test_defense(on_both, defense_options, attacker, extra):
    options = [*defense_options, "--attacker", "frozen", "online", "pgd", "--noise_path1", attacker, "--epochs", "1"]
    assert_same_epochs(on_both(metaDefense.main, [*options, *extra], "--logs_dir"))


@pytest.mark.parametrize(
    "extra", [["--cuhk03-repeats", "3"], ["--rerank"], ["--dist_metric", "cosine"], ["--adaptive", "--restarts", "1"]]
)
def test_evaluation(on_both, data, victim, attacker, train_options, extra):
    size = train_options[train_options.index("--height") : train_options.index("--batch_size")]
    options = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *size, *extra]
    options += ["--adaptive-epochs", "1", "--adaptive-iters", "2", "--pgd-steps", "2"]
    options += ["--batch_size", "8", "--num-instances", "4"]
    here, there = (read_results(folder) for folder in on_both(evaluate.main, options, "--results"))
    assert [result.metrics for result in here] == [result.metrics for result in there]
    assert [result.spent for result in here] == [result.spent for result in there]
