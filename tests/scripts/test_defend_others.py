"""metaDefense.py on models of others: end to end, killed and gone on with, without labels, and what it refuses."""

import contextlib
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from test_resume import Killed, kill_after

import evaluate
import metaDefense
from reid import models
from reid.errors import UsageError
from reid.evaluation.suites import SUITES, Each, Suite, Universal
from reid.models import InputSpec
from reid.models.zoo import entries
from reid.report import card
from reid.runtime.torchfiles import read_torch
from reid.synthperson.generate import DEFAULTS, Sizes

sys.path.append(str(Path(__file__).parents[1] / "models"))
import tiny_networks
from zoo_entries import write_entry

PLUGIN = str(Path(__file__).parents[1] / "plugins" / "label_free.py")
SHORT = ["--device", "cpu", "--precision", "fp32", "--batch_size", "8", "--num-instances", "4", "--pgd-steps", "1"]
SHORT += ["--epochs", "2", "--iters-per-epoch", "2", "--eval-every", "1", "--attacker", "online", "pgd"]


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    """An ONNX file, and how it reads images."""
    for package in ("onnx", "onnxruntime", "onnx2pytorch"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("vendor")
    (folder / "input.json").write_text(tiny_networks.SPEC.to_json())
    return tiny_networks.write_onnx(tiny_networks.shared(), folder / "vendor.onnx"), str(folder / "input.json")


@pytest.fixture
def options(vendor, data):
    start = ["--resume", vendor[0], "--preprocessing", vendor[1], "--data", data]
    return ["-s", "synth-a", "-m", "synth-virtual", "--defense", "mixed", *start, *SHORT]


def failure(argv, capsys):
    with pytest.raises(SystemExit) as left:
        metaDefense.cli.run(metaDefense.main, argv)
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert left.value.code == 2
    assert line.startswith("error: ")
    return line


def test_an_onnx_file_comes_back_as_one_with_a_card(options, vendor, tmp_path, caplog):
    with caplog.at_level("INFO"):
        metaDefense.main([*options, "--logs_dir", str(tmp_path / "run")])
    path = tmp_path / "run" / "model_best.onnx"
    assert "batch normalisation keeps its statistics, its weights are trained (1 layers" in caplog.text
    start, again = models.load_victim(vendor[0], preprocessing=vendor[1]), models.load_victim(path)
    assert again.input == start.input == InputSpec.read(f"{path}.json")
    images = torch.rand(3, 3, *tiny_networks.SIZE)
    with torch.no_grad():
        assert not torch.allclose(again(images), start(images), rtol=1e-3)
    card = path.with_name("card.md").read_text()
    for words in (vendor[0], start.sha256, "| defence | mixed |", "| adversaries | online, pgd |", "| steps | 4 |"):
        assert words in card
    assert "| before | " in card
    assert card.count("| null |") == 2
    assert f"--resume {path}" in card
    assert json.loads(Path(f"{path}.json").read_text())["height"] == tiny_networks.SIZE[0]


@pytest.fixture
def zoo(vendor, tmp_path, monkeypatch):
    """The options for zoo:vendor, a zoo of the ONNX file, whose entry says how it reads images."""
    monkeypatch.setattr(entries, "FOLDER", tmp_path / "zoo")
    path = Path(vendor[0])
    name = f"{path.parent.name}/{path.name}"
    file = {"name": name, "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    values = {"files": [file], "family": "graph", "arch": "onnx", "input": json.loads(tiny_networks.SPEC.to_json())}
    write_entry(tmp_path / "zoo", "vendor", **values)
    return ["--resume", "zoo:vendor", "--weights", str(path.parent.parent)]


def test_a_model_of_the_zoo_is_defended_and_its_card_takes_the_verdict_of_a_suite(zoo, data, tmp_path, monkeypatch):
    each = Each("cosine:steps=1,restarts=1", "query"), Each("smooth-ap:steps=1,restarts=1", "query")
    both = Universal("nearest", "query"), Universal("nearest", "query", alone="delta")
    suite = Suite(both, each, effort={"restarts": 1, "adaptive_epochs": 1}, judges=True)
    monkeypatch.setitem(SUITES._places, "reid-smoke-v1", suite)
    people = ["-s", "synth-a", "-m", "synth-virtual", "--data", data]
    run = tmp_path / "run"
    metaDefense.main([*people, *zoo, "--defense", "mixed", *SHORT, "--logs_dir", str(run)])
    asked = f"--resume zoo:vendor --weights {zoo[-1]} --preprocessing own --results before\n"
    assert asked in (run / "card.md").read_text()
    judge = ["-d", "synth-b", "--data", data, "--suite", "reid-smoke-v1", "--batch_size", "8", "--num-instances", "4"]
    names, found = {"before": zoo, "after": ["--resume", str(run / "model_best.onnx")]}, {}
    for when, model in names.items():
        evaluate.main([*judge, "--adaptive-iters", "1", *model, "--results", str(tmp_path / when)])
        summary = json.loads((tmp_path / when / "reid-smoke-v1-summary.json").read_text())
        worst = [summary["worst"][goal] for goal in ("universal", "universal_equal_total", "image", "image_gallery")]
        found[when] = " | ".join(f"{100 * mAP:.1f}" for mAP in (summary["clean"], *worst))
    folders = [option for when in names for option in (f"--{when}", str(tmp_path / when))]
    card.main([str(run), *folders, "--suite", "reid-smoke-v1"])
    lines = (run / "card.md").read_text().splitlines()
    for when, numbers in found.items():
        (line,) = (line for line in lines if line.startswith(f"| {when} | "))
        assert line.endswith(f" | {numbers} |")
    again = ["--resume", str(run / "model_best.onnx"), "--logs_dir", str(tmp_path / "again")]
    metaDefense.main([*people, *again, "--defense", "mixed", *SHORT])
    assert (tmp_path / "again" / "card.md").read_text().startswith("\n".join(lines).partition("## What is known")[0])


def test_a_killed_run_goes_on_bit_for_bit(options, tmp_path, monkeypatch):
    metaDefense.main([*options, "--logs_dir", str(tmp_path / "whole")])
    with monkeypatch.context() as patched:
        kill_after(patched, 0)
        with pytest.raises(Killed):
            metaDefense.main([*options, "--logs_dir", str(tmp_path / "killed")])
    metaDefense.main([*options, "--logs_dir", str(tmp_path / "killed"), "--resume-from", "auto"])
    first, second = (read_torch(tmp_path / name / "state.pth")["network"] for name in ("whole", "killed"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    files = [(tmp_path / name / "model_best.onnx").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]


@pytest.mark.parametrize("labels", ["none in the names", "a folder train of pid -1", "all under one camera"])
def test_images_without_labels_and_what_chooses_then(labels, vendor, data, tmp_path, caplog):
    people = sorted(Path(data, "synth-a").rglob("bounding_box_train/*.jpg"))[:16]
    folder = tmp_path / "mine" / ("" if "names" in labels else "train")
    folder.mkdir(parents=True)
    names = {"none": "photo{}.jpg", "a": "-1_c1_{}.jpg", "all": "0001_c1_{}.jpg"}
    for number, path in enumerate(people):
        shutil.copy(path, folder / names[labels.split()[0]].format(number))
    start = ["--plugin", PLUGIN, "--defense", "label-free", "--resume", vendor[0], "--preprocessing", vendor[1]]
    run = ["-s", f"folder:{tmp_path / 'mine'}", *start, *SHORT, "--data", data]
    caplog.set_level("INFO")
    metaDefense.main([*run, "--logs_dir", str(tmp_path / "last")])
    why = "nobody to validate on in folder:mine is known to be under two cameras"
    assert f"{why}: there is no validation mAP" in caplog.text
    assert "| before | null | null |" in (tmp_path / "last" / "card.md").read_text()
    metaDefense.main([*run, "-m", "synth-virtual", "--logs_dir", str(tmp_path / "chosen")])
    assert "chosen by mAP on the validation identities of synth-virtual" in caplog.text
    assert "val_mAP" in (tmp_path / "chosen" / "metrics.jsonl").read_text()
    assert "val_mAP" not in (tmp_path / "last" / "metrics.jsonl").read_text()
    unknown = [*run, "--preprocessing", "auto", "--logs_dir", str(tmp_path / "read")]
    with contextlib.suppress(UsageError):  # where several readings are as good
        metaDefense.main([*unknown, "-m", "synth-virtual"])
    assert "clean mAP on images of synth-virtual, as it reads them" in caplog.text
    with pytest.raises(UsageError, match="nobody on the images of folder:mine is known to be under two cameras"):
        metaDefense.main(unknown)


def test_the_margin_is_relative_for_models_of_others_alone(options, defense_options, tmp_path, monkeypatch):
    """Theirs have features of any length; ours are trained as the released code trains them."""

    def made(kind, margin, relative):
        raise UsageError(str(relative))

    monkeypatch.setattr(metaDefense.training, "ReidLoss", made)
    for argv, relative in ((options, True), (defense_options, False)):
        with pytest.raises(UsageError, match=str(relative)):
            metaDefense.main([*argv, "--attacker", "pgd", "--logs_dir", str(tmp_path)])


def test_drawn_sets_are_made_on_the_spot_at_the_size_of_the_model(options, tmp_path, monkeypatch):
    monkeypatch.setitem(DEFAULTS, "synth-a", Sizes(80, 2, 2, 2))
    argv = [*options, "--data", str(tmp_path / "data"), "--ids", "12", "--logs_dir", str(tmp_path / "run")]
    argv[argv.index("mixed")] = "adversarial"
    metaDefense.main(argv)
    drawn = json.loads((tmp_path / "data" / "synth-a" / "raw" / "settings.json").read_text())
    assert (drawn["ids"], drawn["height"], drawn["width"]) == (12, *tiny_networks.SIZE)
    assert not (tmp_path / "data" / "synth-virtual").exists()


def test_wrong_input_is_one_line(options, vendor, victim, data, zoo, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(tiny_networks.__file__).parent))
    logs = ["--logs_dir", str(tmp_path / "logs")]

    def refused(*extra):
        line = failure([*options, *logs, *extra], capsys)
        assert not (tmp_path / "logs").exists()
        return line

    assert "torchscript:x.ts (torchscript) cannot be defended, only" in refused("--resume", "torchscript:x.ts")
    assert "gives scores only, so it cannot be defended" in refused("--resume", "tiny_networks:scores")
    assert "no model of the zoo is called 'vender'; did you mean vendor?" in refused(*zoo, "--resume", "zoo:vender")
    assert "vendor.onnx of zoo:vendor is not there; put" in refused(*zoo, "--weights", str(tmp_path))
    assert "--checkpointing is for this project's networks" in refused("--checkpointing")
    assert "reads images in one way; leave --preprocessing out" in refused("--resume", victim)
    assert "is a onnx, not a resnet18" in refused("-a", "resnet18")
    assert "--batch-norm" in refused("--batch-norm", "frozen")
    assert "is there with an unknown number of training identities, not 9" in refused("--ids", "9")
    assert "preprocessing" in refused("--preprocessing", "imagnet")
