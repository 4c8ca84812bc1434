"""Wrong input: one clear line on stderr that names the fault, exit code 2, no traceback, nothing written."""

import pytest
import torch
from tiny_market import SIZE

import evaluate
import metaAttack
import trainReid
from reid.report import __main__ as picture
from reid.training import cli


def failure(script, options, capsys):
    with pytest.raises(SystemExit) as left:
        cli.run(script.main, options)
    assert left.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("\r") and line]
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert lines[-1] == errors[0]
    assert not any("Traceback" in line for line in lines)
    return errors[0]


@pytest.fixture
def wrong(tmp_path):
    page, cut = tmp_path / "page.pth", tmp_path / "cut.pth"
    page.write_text("<!DOCTYPE html><html>Sign in</html>")
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, cut)
    cut.write_bytes(cut.read_bytes()[:700])
    return {"page": str(page), "cut": str(cut), "missing": str(tmp_path / "none.pth"), "folder": str(tmp_path)}


@pytest.mark.parametrize("script", [trainReid, metaAttack, evaluate, picture])
def test_no_arguments(script, capsys):
    assert "the following arguments are required" in failure(script, [], capsys)


@pytest.mark.parametrize("script", [trainReid, metaAttack, evaluate, picture])
def test_help_describes_every_option_and_its_default(script, capsys, monkeypatch):
    parsers = []
    initialise = cli.OneLineParser.__init__
    monkeypatch.setattr(
        cli.OneLineParser, "__init__", lambda self, *a, **k: (parsers.append(self), initialise(self, *a, **k))[1]
    )
    with pytest.raises(SystemExit) as left:
        cli.run(script.main, ["--help"])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for action in parsers[0]._actions:
        assert action.help, action.dest
        if action.option_strings and not action.required and action.dest != "help":
            assert f"{action.option_strings[-1]} " in shown
            assert f"(default: {action.default})" in shown, action.dest


def test_a_path_that_cannot_be_written_is_one_line(train_options, victim, data, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    path = str(tmp_path / "file")
    assert path in failure(trainReid, [*train_options, "--logs_dir", path], capsys)
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--results", path]
    assert path in failure(evaluate, options, capsys)


def test_a_target_that_cannot_be_ranked_is_found_before_the_attack(attack_options, victim, tmp_path, capsys):
    options = [*attack_options, "-t", "mars", "--resumeTgt", victim, "--noise_resume", str(tmp_path / "new")]
    assert "no dataset is called 'mars'" in failure(metaAttack, options, capsys)
    assert not (tmp_path / "new").exists()


def test_wrong_dataset(data, victim, tmp_path, capsys):
    logs = ["--logs_dir", str(tmp_path / "logs")]
    assert "no dataset is called 'mars'" in failure(trainReid, ["-d", "mars", "--data", data, *logs], capsys)
    options = ["-s", "mars", "-m", "synth-virtual", "--resume", victim, "--data", data]
    assert "no dataset is called 'mars'" in failure(metaAttack, options, capsys)
    options = ["-s", "synth-a", "-m", "mars", "--resume", victim, "--data", data]
    assert "no dataset is called 'mars'" in failure(metaAttack, options, capsys)
    assert "no dataset is called 'mars'" in failure(evaluate, ["-d", "mars", "--resume", victim], capsys)
    assert not (tmp_path / "logs").exists()


def test_missing_dataset(data, victim, capsys):
    assert "market1501" in failure(evaluate, ["-d", "market1501", "--resume", victim, "--data", data], capsys)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("page", "web page"), ("cut", "damaged"), ("missing", "no such checkpoint"), ("folder", "is a folder")],
)
def test_wrong_checkpoint(kind, words, wrong, data, capsys):
    model = ["--resume", wrong[kind], "--data", data]
    assert words in failure(evaluate, ["-d", "synth-a", *model], capsys)
    assert words in failure(metaAttack, ["-s", "synth-a", "-m", "synth-virtual", *model], capsys)


def test_attacker_and_model_files_mixed_up(victim, attacker, data, capsys):
    options = ["-d", "synth-a", "--data", data, *SIZE]
    assert attacker in failure(evaluate, [*options, "--resume", attacker], capsys)
    assert victim in failure(evaluate, [*options, "--resume", victim, "--attack", victim], capsys)


def test_wrong_architecture(victim, data, capsys):
    options = ["-d", "synth-a", "--resume", victim, "--data", data, "-a", "resMeta"]
    assert "is a resnet10, not a resMeta" in failure(evaluate, options, capsys)


@pytest.mark.parametrize("bad", ["3", "-1", "x"])
def test_wrong_noise_type(bad, attack_options, capsys):
    assert "--noise_type" in failure(metaAttack, [*attack_options, "--noise_type", bad], capsys)


def test_batch_size_that_is_no_multiple(train_options, attack_options, tmp_path, capsys):
    words = "--batch_size 10 is not a multiple of --num-instances 4"
    logs = ["--logs_dir", str(tmp_path / "logs")]
    assert words in failure(trainReid, [*train_options, "--batch_size", "10", *logs], capsys)
    assert words in failure(metaAttack, [*attack_options, "--batch_size", "10"], capsys)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--lp", "0"], "--lp"),
        (["--lp", "300"], "--lp"),
        (["--epoch", "0"], "--epoch"),
        (["--meta", "reptile"], "--meta"),
        (["-t", "synth-b"], "-t and --resumeTgt go together"),
        (
            ["--batch_size", "800"],
            "synth-a: a batch of 200 identities x 4 images needs 200",
        ),
        (["--device", "cuda:77"], "--device cuda:77"),
        (["--device", "meta"], "--device meta"),
        (["--precision", "fp8"], "--precision fp8"),
        (["--resume-from", "nowhere/state.pth"], "no such checkpoint file"),
        (["--height", "0"], "--height"),
    ],
)
def test_wrong_attack_options(extra, words, attack_options, tmp_path, capsys):
    assert words in failure(metaAttack, [*attack_options, "--noise_resume", str(tmp_path / "new"), *extra], capsys)
    assert not list(tmp_path.glob("**/*.pth"))


def test_meta_learning_without_a_virtual_set(victim, data, capsys):
    options = ["-s", "synth-a", "--resume", victim, "--data", data]
    assert "needs a virtual dataset" in failure(metaAttack, options, capsys)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--eps", "8"], "did you mean 8/255"),
        (["--eps", "x"], "--eps"),
        (["--side", "left"], "--side"),
        (["--rerank", "--dist_metric", "cosine"], "--rerank"),
        (["--split", "-1"], "--split"),
    ],
)
def test_wrong_evaluation_options(extra, words, victim, data, capsys):
    assert words in failure(evaluate, ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, *extra], capsys)


def test_a_picture_must_be_png(victim, attacker, data, capsys):
    options = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, "--out", "picture.jpg"]
    assert "must end in .png" in failure(picture, options, capsys)
