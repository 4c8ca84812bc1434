"""The scripts under torchrun: what one process makes, in several; one writer; a lost process; going on with others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_market import SIZE

import evaluate
import metaAttack
import metaDefense
import trainReid
from reid.runtime.torchfiles import read_torch

JOBS = Path(__file__).with_name("torchrun_jobs.py")
EXACT = ["--precision", "fp32"]  # what is compared here is told apart by the rounding of bfloat16
LAST = "best_perturbation2.pth"
MODULES = {module.__name__: module for module in (trainReid, metaAttack, metaDefense, evaluate)}


def torchrun(processes, commands, *more):
    """Run commands (script, option, ..) one after the other in this many processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += [str(JOBS), json.dumps(commands), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key.startswith("loss")} for line in lines]


def assert_same_losses(first, second, tolerance, epochs=None):
    """That two runs have the same losses in the first `epochs` (None: all), and as many epochs."""
    first, second = losses(first), losses(second)
    assert len(first) == len(second)
    for one, other in zip(first[:epochs], second[:epochs], strict=True):
        assert one == pytest.approx(other, rel=tolerance)


def difference(first, second):
    """The distance between the weights in two files, as a share of their norm."""
    first, second = (read_torch(path)["state_dict"] for path in (first, second))
    assert first.keys() == second.keys()
    names = [name for name in first if not name.endswith("num_batches_tracked")]
    whole, other = (torch.cat([state[name].double().flatten() for name in names]) for state in (first, second))
    return ((whole - other).norm() / other.norm()).item()


def assert_same_results(first, second):
    """That two folders hold the same records, but for seconds and what the names of files say."""

    def read(folder):
        records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        return [{key: record[key] for key in ("metrics", "spent", "checks", "threat")} for record in records]

    assert read(first) == read(second) != []


@pytest.fixture(scope="module")
def evaluation(data, victim, attacker):
    options = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *SIZE, "--batch_size", "8"]
    options += ["--num-instances", "4", "--adaptive", "--restarts", "2", "--adaptive-epochs", "2"]
    return [*options, "--adaptive-iters", "2", "--pgd-steps", "2", "--results"]


@pytest.fixture(scope="module")
def commands(train_options, attack_options, online_options):
    """The three scripts that train, by the folder that each writes to."""
    return {
        "model": ["trainReid", *train_options, *EXACT, "--logs_dir"],
        "attack": ["metaAttack", *attack_options, *EXACT, "--noise_resume"],
        "defence": ["metaDefense", *online_options, *EXACT, "--logs_dir"],
    }


@pytest.fixture(scope="module")
def alone(commands, tmp_path_factory):
    """The folder of these scripts in this one process."""
    folder = tmp_path_factory.mktemp("alone")
    for name, (script, *options) in commands.items():
        MODULES[script].main([*options, str(folder / name)])
    return folder


@pytest.fixture(scope="module")
def pair(commands, evaluation, tmp_path_factory):
    """The folder and the output of all four scripts in two processes."""
    folder = tmp_path_factory.mktemp("pair")
    trained = [[*command, str(folder / name)] for name, command in commands.items()]
    return folder, torchrun(2, [*trained, ["evaluate", *evaluation, str(folder / "results")]])


class TestTwoProcesses:
    """Steps of Adam from random weights tell rounding errors apart: with time, trained models drift from each other."""

    def test_train_the_same_model(self, pair, alone):
        folder, _ = pair
        assert_same_losses(folder / "model", alone / "model", 0.01, epochs=1)
        assert difference(folder / "model" / "model_best.pth", alone / "model" / "model_best.pth") <= 0.01

    def test_learn_the_same_perturbation(self, pair, alone):
        folder, _ = pair
        assert_same_losses(folder / "attack", alone / "attack", 1e-5)
        assert difference(folder / "attack" / LAST, alone / "attack" / LAST) <= 1e-6

    def test_train_the_same_defended_model(self, pair, alone):
        folder, _ = pair
        assert_same_losses(folder / "defence", alone / "defence", 0.01, epochs=1)
        assert difference(folder / "defence" / "model_best.pth", alone / "defence" / "model_best.pth") <= 0.01

    def test_score_the_same(self, pair, evaluation, tmp_path):
        evaluate.main([*evaluation, str(tmp_path)])
        folder, _ = pair
        assert_same_results(folder / "results", tmp_path)

    def test_write_and_say_everything_once(self, pair):
        folder, run = pair
        assert run.returncode == 0
        assert run.stdout.count("worst of the re-learnt") == run.stdout.count("mAP of a random ranking") == 1
        for line in ("epoch 1  ", "the best model is", "the defended model is", "results are in"):
            mentions = run.stderr.count(line)
            assert mentions == (3 if line == "epoch 1  " else 1)
        for name in ("model", "attack", "defence"):
            assert len(list((folder / name).glob("events.*"))) == 1
        assert not list(folder.rglob("*.part"))


def test_a_lost_process_ends_the_job_with_one_line_and_another_number_goes_on(attack_options, alone, tmp_path):
    options = [*attack_options, *EXACT, "--noise_resume", str(tmp_path)]
    run = torchrun(2, [["metaAttack", *options]], "4")
    assert run.returncode != 0
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert "process 0 of 2" in line
    assert f"go on after epoch 1 with --resume-from {tmp_path / 'state.pth'}" in line
    assert "File" not in run.stderr.partition("error: ")[0]  # no traceback of ours

    metaAttack.main([*options, "--resume-from", "auto"])
    assert_same_losses(tmp_path, alone / "attack", 1e-5)
    assert difference(tmp_path / LAST, alone / "attack" / LAST) <= 1e-6


DEFENCES = {
    "none": ["--defense", "none"],
    "adversarial": ["--defense", "adversarial", "--attacker", "frozen"],
    "mixed": ["--defense", "mixed", "--attacker", "online", "pgd"],
    "first": ["--inner-order", "first", "--attacker", "frozen", "online", "pgd"],
    "second": ["--inner-order", "second", "--attacker", "frozen", "online", "pgd"],
    "anchored": ["--defense", "anchored", "--attacker", "online-delta", "pgd", "--ema", "0.5", "--jitter", "1"],
}


@pytest.fixture(scope="module")
def runs(data, train_options, attack_options, defense_options, victim, attacker, tmp_path_factory):
    """Folders of the same runs: in this process, in four, and in this one from a start that differs by rounding."""
    alone, four, nudged = (tmp_path_factory.mktemp(name) for name in ("alone", "four", "nudged"))
    start = read_torch(victim)
    random = torch.Generator().manual_seed(0)
    for value in start["state_dict"].values():
        if value.is_floating_point():
            value *= 1 + 1e-7 * torch.randn(value.shape, generator=random)
    torch.save(start, nudged / "victim.pth")

    people = [*EXACT, "--batch_size", "8", "--num-instances", "2"]  # four, of whom each process has one
    commands = {"model": ["trainReid", *train_options, *people, "--logs_dir"]}
    for kind in ("0", "1", "2"):
        commands[kind] = ["metaAttack", *attack_options, *people, "--noise_type", kind, "--noise_resume"]
    for kind, options in DEFENCES.items():
        given = [*defense_options, *people, "--noise_path1", attacker, *options]
        commands[kind] = ["metaDefense", *given, "--logs_dir"]
    for kind, options in {"plain": [], "reranked": ["--rerank", "--side", "both"]}.items():
        given = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *SIZE, *options]
        commands[kind] = ["evaluate", *given, "--results"]
    for kind, (script, *options) in commands.items():
        MODULES[script].main([*options, str(alone / kind)])
        if kind in DEFENCES:
            there = [str(nudged / "victim.pth") if option == victim else option for option in options]
            MODULES[script].main([*there, str(nudged / kind)])
    run = torchrun(4, [[*command, str(four / kind)] for kind, command in commands.items()])
    assert run.returncode == 0, run.stderr
    return alone, four, nudged


@pytest.mark.slow
class TestFourProcesses:
    @pytest.mark.parametrize("noise_type", ["0", "1", "2"])
    def test_learn_the_same_perturbation(self, runs, noise_type):
        alone, four, _ = (folder / noise_type for folder in runs)
        assert_same_losses(four, alone, 1e-5)
        assert difference(four / "best_perturbation2.pth", alone / "best_perturbation2.pth") <= 1e-6

    def test_train_the_same_model(self, runs):
        alone, four, _ = (folder / "model" for folder in runs)
        assert_same_losses(four, alone, 0.01, epochs=1)
        assert difference(four / "model_best.pth", alone / "model_best.pth") <= 0.01

    @pytest.mark.parametrize("kind", DEFENCES)
    def test_train_a_defended_model_as_much_the_same_as_one_process_that_rounds_otherwise(self, runs, kind):
        alone, four, nudged = (folder / kind / "model_best.pth" for folder in runs)
        assert_same_losses(four.parent, alone.parent, 0.01, epochs=1)
        assert difference(four, alone) <= 3 * difference(nudged, alone)

    @pytest.mark.parametrize("kind", ["plain", "reranked"])
    def test_score_the_same(self, runs, kind):
        alone, four, _ = runs
        assert_same_results(four / kind, alone / kind)
