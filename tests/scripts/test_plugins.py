"""Files of a user, registered by --plugin: in a command's help, and run through it."""

from pathlib import Path

import pytest
import torch
from tiny_market import SIZE

import evaluate
import metaAttack
from reid import UsageError, attacks
from reid.evaluation.results import read_results
from reid.evaluation.suites import SUITES, Suite, Universal
from tests.datasets.raw_layouts import jpeg, pack_zip

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "tests/plugins"
RECIPE, IMAGE_ATTACK, FAMILY, DATASET = (
    str(PLUGINS / f"toy_{name}.py") for name in ("recipe", "image_attack", "family", "dataset")
)


@pytest.mark.parametrize(
    ("script", "plugin", "words"),
    [
        (metaAttack, RECIPE, "toy: pull all features to their middle"),
        (evaluate, RECIPE, ",toy} [{"),
        (evaluate, IMAGE_ATTACK, "margin, toy, square"),
        (evaluate, DATASET, "toy-people"),
    ],
)
def test_is_in_the_help(script, plugin, words, capsys):
    shown = []
    for options in ([], ["--plugin", plugin]):
        with pytest.raises(SystemExit):
            script.main([*options, "--help"])
        shown.append(" ".join(capsys.readouterr().out.split()))
    assert [words in each for each in shown] == [False, True]


@pytest.mark.parametrize("plugin", sorted(PLUGINS.glob("*.py")), ids=lambda path: path.stem)
def test_fits_on_30_lines(plugin):
    assert len(plugin.read_text().splitlines()) <= 30


def test_a_recipe_learns_an_attack(attack_options, tmp_path):
    metaAttack.main([*attack_options, "--plugin", RECIPE, "--recipe", "toy", "--noise_resume", str(tmp_path)])
    noise = attacks.load(tmp_path / "best_perturbation2.pth")
    assert noise.provenance["recipe"] == "toy"
    assert 0 < noise.measure(torch.rand(4, 3, 32, 16))["total"] <= 16 / 255 + 1e-6


def evaluated(data, folder, model, *options, dataset="synth-a"):
    """Results of evaluate.py by kind; the rows that are not random controls."""
    shared = ["-d", dataset, "--resume", model, "--data", data, *SIZE, "--results", str(folder)]
    evaluate.main([*shared, "--batch_size", "8", "--num-instances", "4", "--pgd-steps", "2", *options])
    return {result.attack["kind"]: result for result in read_results(folder) if result.attack["kind"] != "control"}


def test_a_recipe_attacks_the_model_under_evaluation(data, victim, tmp_path):
    effort = ["--restarts", "1", "--adaptive-epochs", "2", "--adaptive-iters", "2"]
    rows = evaluated(data, tmp_path, victim, "--plugin", RECIPE, "--recipe", "toy", *effort)
    assert rows.keys() == {"clean", "relearnt"}
    assert rows["relearnt"].attack["settings"] == {"recipe": "toy"}
    assert rows["relearnt"].attack["learnt_on"] == rows["clean"].victim["sha256"]
    assert rows["relearnt"].spent["total"] > 0


def test_an_image_attack_is_a_row(data, victim, tmp_path, capsys):
    rows = evaluated(data, tmp_path, victim, "--plugin", IMAGE_ATTACK, "--image-attack", "toy")
    assert rows.keys() == {"clean", "image"}
    assert rows["image"].attack["settings"] == {"attack": "toy", "steps": 1, "restarts": 1}
    assert rows["image"].passes["backward"] == rows["clean"].dataset["num_query"]
    assert rows["image"].spent["total"] == pytest.approx(8 / 255, abs=1e-6)
    assert "\ntoy 8/255, 1 step" in capsys.readouterr().out


def test_an_image_attack_is_measured_next_to_those_of_the_suite(data, victim, tmp_path):
    options = ["--plugin", IMAGE_ATTACK, "--image-attack", "pgd", "toy"]
    evaluated(data, tmp_path, victim, *options)
    images = [result for result in read_results(tmp_path) if result.attack["kind"] == "image"]
    assert sorted(result.attack["settings"]["attack"] for result in images) == ["pgd", "toy"]


def test_a_family_is_evaluated(data, tmp_path):
    weights = {"toy_conv.weight": torch.randn(8, 3, 5, 5), "toy_conv.bias": torch.randn(8)}
    torch.save(weights, tmp_path / "toy.pth")
    rows = evaluated(data, tmp_path / "r", str(tmp_path / "toy.pth"), "--plugin", FAMILY, "--image-attack", "pgd")
    assert rows["clean"].victim["arch"] == "toy"
    assert rows["clean"].protocol["features"] == "the convolution's output, pooled"
    assert rows["image"].metrics["mAP"] < rows["clean"].metrics["mAP"]


def test_a_family_that_resizes_gets_images_of_the_size_that_is_asked_for(data, tmp_path):
    weights = {"toy_conv.weight": torch.randn(8, 3, 5, 5), "toy_conv.bias": torch.randn(8)}
    torch.save(weights, tmp_path / "toy.pth")
    rows = evaluated(data, tmp_path / "r", str(tmp_path / "toy.pth"), "--plugin", FAMILY, "--height", "48")
    assert (rows["clean"].protocol["height"], rows["clean"].protocol["width"]) == (48, 32)


def test_a_dataset_is_evaluated(victim, tmp_path):
    faces = [f"gallery/{person}_{camera}_1.jpg" for person in ("di", "ed", "flo") for camera in ("door", "gate")]
    names = ["train/ana_door_1.jpg", "train/ana_gate_1.jpg", *faces, "query/di_door_2.jpg"]
    pack_zip(tmp_path / "toy-people/raw", {name: jpeg(shade) for shade, name in enumerate(names)})
    rows = evaluated(str(tmp_path), tmp_path / "r", victim, "--plugin", DATASET, dataset="toy-people")
    assert (rows["clean"].dataset["name"], rows["clean"].metrics["num_valid"]) == ("toy-people", 1)


def test_a_suite_whose_recipe_needs_a_virtual_set_says_so_at_once(data, victim, tmp_path, monkeypatch):
    monkeypatch.setitem(SUITES._places, "adaptive", Suite((Universal("maml"),)))
    with pytest.raises(UsageError, match="--recipe maml needs a virtual dataset"):
        evaluated(data, tmp_path / "r", victim, "--adaptive")
    assert not (tmp_path / "r").exists()
