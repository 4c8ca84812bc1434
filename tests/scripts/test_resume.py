"""A killed run that goes on ends bit for bit where the uninterrupted one ends."""

import json
import shutil

import pytest
import torch
from PIL import Image

import metaAttack
import metaDefense
import trainReid
from reid import datasets
from reid.errors import UsageError
from reid.runtime.snapshot import Run
from reid.runtime.torchfiles import read_torch
from reid.training import trainer as train


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


def kill_after(monkeypatch, epoch):
    """Die when the state of `epoch` (0-based) is written and the next epoch has not begun."""
    save = Run.save

    def die(self, finished, **state):
        save(self, finished, **state)
        if finished == epoch + 1:
            raise Killed

    monkeypatch.setattr(Run, "save", die)


def kill_before_state(monkeypatch, epoch):
    """Die when all of `epoch` (0-based) is done but its state is not yet written."""
    save = Run.save

    def die(self, finished, **state):
        if finished == epoch + 1:
            raise Killed
        save(self, finished, **state)

    monkeypatch.setattr(Run, "save", die)


def kill_in_second_step_of(monkeypatch, module, name):
    """Die in the middle of an epoch: in the fourth call of a function that every step makes."""
    function, calls = getattr(module, name), []

    def die(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, die)


def assert_equal(first, second, path="state"):
    assert type(first) is type(second), path
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_equal(first[key], second[key], f"{path}.{key}")
    elif isinstance(first, list):
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_equal(a, b, f"{path}[{i}]")
    else:
        assert first == second, path


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.parametrize("kill", [kill_after, kill_before_state])
def test_training_killed_between_epochs(kill, train_options, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainReid.main([*train_options, "--logs_dir", str(whole)])
    with monkeypatch.context() as patch:
        kill(patch, epoch=1)
        with pytest.raises(Killed):
            trainReid.main([*train_options, "--logs_dir", str(parts)])
    trainReid.main([*train_options, "--logs_dir", str(parts), "--resume-from", "auto"])
    assert_equal(read_torch(whole / "state.pth"), read_torch(parts / "state.pth"))
    assert_equal(read_torch(whole / "model_best.pth"), read_torch(parts / "model_best.pth"))
    assert losses(whole) == losses(parts)
    assert len(losses(whole)) == 3


def test_training_killed_inside_an_epoch(train_options, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainReid.main([*train_options, "--logs_dir", str(whole)])
    with monkeypatch.context() as patch:
        kill_in_second_step_of(patch, train, "step_gradients")
        with pytest.raises(Killed):
            trainReid.main([*train_options, "--logs_dir", str(parts)])
    assert read_torch(parts / "state.pth")["epoch"] == 1
    trainReid.main([*train_options, "--logs_dir", str(parts), "--resume-from", str(parts)])
    assert_equal(read_torch(whole / "state.pth"), read_torch(parts / "state.pth"))


@pytest.mark.parametrize("mode", ["maml", "alternating", "none"])
def test_attack_killed_inside_an_epoch(mode, attack_options, tmp_path, monkeypatch):
    from reid.attacks.universal import learn

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = [*attack_options, "--meta", mode]
    metaAttack.main([*options, "--noise_resume", str(whole)])
    with monkeypatch.context() as patch:
        kill_in_second_step_of(patch, learn, "meta_step")
        with pytest.raises(Killed):
            metaAttack.main([*options, "--noise_resume", str(parts)])
    assert read_torch(parts / "state.pth")["epoch"] == 1
    metaAttack.main([*options, "--noise_resume", str(parts), "--resume-from", "auto"])
    assert_equal(read_torch(whole / "state.pth"), read_torch(parts / "state.pth"))
    for name in ("best_perturbation0.pth", "best_perturbation2.pth"):
        assert_equal(read_torch(whole / name), read_torch(parts / name))
    assert losses(whole) == losses(parts)


@pytest.mark.parametrize("kill", [kill_after, kill_before_state])
def test_attack_killed_between_epochs(kill, attack_options, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    metaAttack.main([*attack_options, "--noise_resume", str(whole)])
    with monkeypatch.context() as patch:
        kill(patch, epoch=1)
        with pytest.raises(Killed):
            metaAttack.main([*attack_options, "--noise_resume", str(parts)])
    metaAttack.main([*attack_options, "--noise_resume", str(parts), "--resume-from", "auto"])
    assert_equal(read_torch(whole / "state.pth"), read_torch(parts / "state.pth"))
    assert losses(whole) == losses(parts)


def assert_same_run(whole, parts):
    for name in ("state.pth", "model_best.pth"):
        assert_equal(read_torch(whole / name), read_torch(parts / name), name)
    assert losses(whole) == losses(parts)


@pytest.mark.parametrize(("kill", "epoch"), [(kill_after, 0), (kill_before_state, 1)])
def test_a_defence_killed_between_epochs(kill, epoch, online_options, defended, tmp_path, monkeypatch):
    options = [*online_options, "--logs_dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        kill(patch, epoch)
        with pytest.raises(Killed):
            metaDefense.main(options)
    assert read_torch(tmp_path / "state.pth")["epoch"] == 1
    metaDefense.main([*options, "--resume-from", "auto"])
    assert_same_run(defended, tmp_path)


def test_a_defence_killed_inside_an_epoch(online_options, defended, tmp_path, monkeypatch):
    options = [*online_options, "--logs_dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        kill_in_second_step_of(patch, train, "step_gradients")
        with pytest.raises(Killed):
            metaDefense.main(options)
    halfway = read_torch(tmp_path / "state.pth")
    metaDefense.main([*options, "--resume-from", "auto"])
    assert_same_run(defended, tmp_path)
    then, now = (state["adversary"] for state in (halfway, read_torch(tmp_path / "state.pth")))
    for name, value in then["noise"].items():
        assert not torch.equal(value, now["noise"][name])
    for index, state in then["optimizer"]["state"].items():
        assert not torch.equal(state["accumulator"], now["optimizer"]["state"][index]["accumulator"])


@pytest.mark.parametrize(
    "extra",
    [
        ["--defense", "none"],
        ["--defense", "adversarial", "--attacker", "frozen", "--noise_path1", "FILE"],
        ["--defense", "mixed", "--attacker", "pool", "--noise_path1", "FILE", "OTHER"],
        ["--defense", "meta", "--attacker", "pgd"],
        ["--defense", "anchored", "--attacker", "online", "online-delta", "pgd", "--ema", "0.7", "--look-ahead"],
        ["--defense", "gallery", "--attacker", "online", "--move", "late"],
        ["--defense", "fare", "--attacker", "online", "pgd", "--attack-objective", "cosine", "--jitter", "1"],
    ],
    ids=["none", "adversarial-frozen", "mixed-pool", "meta-first-pgd", "anchored-averaged", "gallery-late", "fare"],
)
def test_every_defence_killed_inside_an_epoch(extra, defense_options, attacker, tmp_path, monkeypatch):
    files = {"FILE": attacker, "OTHER": attacker.replace("2.pth", "0.pth")}
    options = [*defense_options, *(files.get(word, word) for word in extra), "--logs_dir"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    metaDefense.main([*options, str(whole)])
    with monkeypatch.context() as patch:
        kill_in_second_step_of(patch, train, "step_gradients")
        with pytest.raises(Killed):
            metaDefense.main([*options, str(parts)])
    assert read_torch(parts / "state.pth")["epoch"] == 1
    metaDefense.main([*options, str(parts), "--resume-from", str(parts)])
    assert_same_run(whole, parts)


def test_the_best_epoch_before_a_kill_stays_the_best(defense_options, tmp_path, monkeypatch, plan_scores):
    plan_scores({"val_mAP": mAP} for mAP in (0.9, 0.1))
    options = [*defense_options, "--defense", "none", "--logs_dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        kill_after(patch, epoch=0)
        with pytest.raises(Killed):
            metaDefense.main(options)
    metaDefense.main([*options, "--resume-from", "auto"])
    assert read_torch(tmp_path / "model_best.pth")["epoch"] == 1


def test_going_on_in_another_folder_brings_the_best_model_along(train_options, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainReid.main([*train_options, "--logs_dir", str(whole)])
    trainReid.main([*train_options, "--logs_dir", str(parts), "--resume-from", str(whole)])
    assert_equal(read_torch(whole / "model_best.pth"), read_torch(parts / "model_best.pth"))


@pytest.mark.parametrize(("changed", "word"), [("synth-a", "source_sha256"), ("synth-virtual", "virtual_sha256")])
def test_other_images_under_the_same_names_are_noticed(changed, word, defense_options, data, tmp_path):
    moved = tmp_path / "data"
    shutil.copytree(data, moved)
    options = [*defense_options, "--data", str(moved), "--defense", "mixed", "--attacker", "online", "--epochs", "1"]
    options += ["--logs_dir", str(tmp_path / "logs"), "--resume-from", "auto"]
    metaDefense.main(options)
    path = datasets.create(changed, moved).train[0].path
    Image.new("RGB", Image.open(path).size).save(path)
    with pytest.raises(UsageError, match=word):
        metaDefense.main(options)


def test_training_notices_other_images_too(train_options, data, tmp_path):
    moved = tmp_path / "data"
    shutil.copytree(data, moved)
    options = [*train_options, "--data", str(moved), "--logs_dir", str(tmp_path / "logs"), "--resume-from", "auto"]
    trainReid.main([*options, "--epochs", "1"])
    path = datasets.create("synth-a", moved).val[0].path
    Image.new("RGB", Image.open(path).size).save(path)
    with pytest.raises(UsageError, match="source_sha256"):
        trainReid.main([*options, "--epochs", "1"])


def test_a_fresh_start_never_overwrites_a_run(train_options, attack_options, online_options, defended, tmp_path):
    options_of = {trainReid: [*train_options, "--logs_dir"], metaAttack: [*attack_options, "--noise_resume"]}
    with pytest.raises(UsageError, match="holds a run already"):
        metaDefense.main([*online_options, "--logs_dir", str(defended)])
    for script, given in options_of.items():
        options = [*given, str(tmp_path / script.__name__)]
        script.main(options)
        with pytest.raises(UsageError, match="holds a run already"):
            script.main(options)


def test_a_finished_run_is_not_done_again(attack_options, tmp_path):
    options = [*attack_options, "--noise_resume", str(tmp_path), "--resume-from", "auto"]
    metaAttack.main(options)
    before = (tmp_path / "state.pth").stat().st_mtime_ns
    metaAttack.main(options)
    assert (tmp_path / "state.pth").stat().st_mtime_ns == before


def test_a_finished_run_writes_its_last_file_again_where_it_is_lost(attack_options, tmp_path):
    options = [*attack_options, "--noise_resume", str(tmp_path), "--resume-from", "auto"]
    metaAttack.main(options)
    before = read_torch(tmp_path / "best_perturbation2.pth")
    (tmp_path / "best_perturbation2.pth").unlink()
    metaAttack.main(options)
    assert_equal(read_torch(tmp_path / "best_perturbation2.pth"), before)


def test_a_finished_run_does_not_take_the_file_of_another_for_its_own(attack_options, attacker, tmp_path):
    options = [*attack_options, "--seed", "3", "--noise_resume"]
    metaAttack.main([*options, str(tmp_path / "own")])
    own, kept = (tmp_path / folder / "best_perturbation2.pth" for folder in ("own", "other"))
    kept.parent.mkdir()
    shutil.copy(attacker, kept)
    metaAttack.main([*options, str(kept.parent), "--resume-from", str(tmp_path / "own")])
    assert_equal(read_torch(kept), read_torch(own))


def test_a_finished_defence_is_not_done_again(online_options, defended):
    before = {path.name: path.stat().st_mtime_ns for path in defended.glob("*.pth")}
    metaDefense.main([*online_options, "--logs_dir", str(defended), "--resume-from", "auto"])
    assert {path.name: path.stat().st_mtime_ns for path in defended.glob("*.pth")} == before


def test_the_same_seed_gives_the_same_attacker_and_another_seed_another(attack_options, tmp_path):
    states = []
    for folder, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        metaAttack.main([*attack_options, "--seed", seed, "--noise_resume", str(tmp_path / folder)])
        states.append(read_torch(tmp_path / folder / "best_perturbation2.pth")["state_dict"]["layer_01.delta"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_going_on_with_other_settings_is_refused(attack_options, online_options, defended, tmp_path):
    options = [*online_options, "--logs_dir", str(defended), "--resume-from", "auto"]
    with pytest.raises(UsageError, match=r"inner_order: second there, first now"):
        metaDefense.main([*options, "--inner-order", "first"])
    with pytest.raises(UsageError, match=r"start_sha256"):
        metaDefense.main([*options, "--resume_reid", str(defended / "model_best.pth")])
    metaAttack.main([*attack_options, "--noise_resume", str(tmp_path)])
    with pytest.raises(UsageError, match=r"lp: 8/255 there, 4/255 now"):
        metaAttack.main([*attack_options, "--lp", "4", "--noise_resume", str(tmp_path), "--resume-from", "auto"])
