"""The demo's summary: the numbers of its own models and attackers, and no others."""

import dataclasses
import json

import pytest
from invented import hashed, relearnt, result

from reid.errors import ReidError
from reid.evaluation.results import write_result
from reid.runtime import cli
from studies import demo

FILES = {noise_type: f"attack/{noise_type}/best_perturbation3.pth" for noise_type in (0, 1, 2)}
CONTROLS = {"random sign": (2, 0.79), "random LUT": (1, 0.78), "random both": (0, 0.77)}
SHOWN = {"random_sign": 0.79, "random_lut": 0.78, "both": 0.77}
ATTACKED = {"A": {0: 0.30, 1: 0.60, 2: 0.50}, "B": {0: 0.20, 1: 0.40, 2: 0.35}, "D": {0: 0.70}}
CLEAN = {"A": 0.80, "B": 0.55, "D": 0.79}


@pytest.fixture
def folder(tmp_path):
    """A finished demo; the files of models and attackers hold their own names."""
    for path in (*FILES.values(), *(f"{name}/model_best.pth" for name in CLEAN)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    for name, clean in CLEAN.items():
        model = f"{name}/model_best.pth"
        add(tmp_path, name, result(clean, model=model))
        for noise_type, score in ATTACKED[name].items():
            path = FILES[noise_type]
            add(tmp_path, name, result(score, "universal", path, noise_type, path, "A/model_best.pth", model))
        for control, (noise_type, score) in CONTROLS.items():
            record = result(score, "control", control, noise_type, model=model)
            settings = {"settings": {"control": control}}
            add(tmp_path, name, dataclasses.replace(record, attack=record.attack | settings))
    for name, worst, pgd in (("A", 0.28, 0.10), ("D", 0.60, 0.25)):
        model = f"{name}/model_best.pth"
        add(tmp_path, name, result(pgd, "image", "pgd", model=model))
        for restart, more in enumerate((0.02, 0.0, 0.01), 1):
            add(tmp_path, name, relearnt(worst + more, restart, model))
        path = tmp_path / "results" / name / "reid-smoke-v1-summary.json"
        path.write_text(json.dumps(judged(name)))
    return tmp_path


def judged(name, model=None):
    model = {"sha256": hashed(model or f"{name}/model_best.pth")}
    return {"model": model, "clean": CLEAN[name], "worst": {"universal": 0.48, "image": None, "search": 0.7}}


def add(folder, name, found):
    return write_result(folder / "results" / name, found)


def test_the_summary_has_victims_and_the_defended_model(folder):
    summary = demo.summarise(folder, seed=0, seconds=12.5)
    assert summary == {
        "victims": {
            name: {
                "arch": "resnet10",
                "dataset": "synth-a",
                "clean": CLEAN[name],
                "attacked": {str(noise_type): score for noise_type, score in ATTACKED[name].items()},
                "controls": SHOWN,
                "chance": 0.03,
            }
            for name in ("A", "B")
        },
        "defended": {
            "clean": 0.79,
            "frozen": 0.70,
            "relearnt": 0.60,
            "pgd": 0.25,
            "controls": SHOWN,
            "undefended": {"clean": 0.80, "frozen": 0.30, "relearnt": 0.28, "pgd": 0.10, "controls": SHOWN},
        },
        "suite": {"A": judged("A"), "D": judged("D")},
        "seed": 0,
        "seconds": 12.5,
    }


@pytest.mark.parametrize("name", ["A", "B", "D"])
def test_results_of_other_models_seeds_and_attackers_do_not_count(name, folder):
    before = demo.summarise(folder, 0, 1.0)
    model = f"{name}/model_best.pth"
    for other in ({"model": "a model of the past"}, {"model": model, "seed": 1}):
        add(folder, name, result(0.001, **other))
        add(folder, name, result(0.001, "image", "pgd", **other))
        add(folder, name, result(0.001, "universal", FILES[0], 0, FILES[0], **other))
    add(folder, name, result(0.001, "universal", FILES[0], 0, "an attacker of the past", model=model))
    another = relearnt(0.001, 1, "another model")
    another.victim["sha256"] = hashed(model)
    add(folder, name, another)
    assert demo.summarise(folder, 0, 1.0) == before


def test_relearnt_attackers_do_not_stand_for_those_of_the_demo(folder):
    """They are of the same types, and on A they have the same victim as the attackers of the demo."""
    model = "A/model_best.pth"
    for noise_type in (0, 1, 2):
        add(folder, "A", result(0.01, "relearnt", "", noise_type, f"{noise_type}", model, model))
    summary = demo.summarise(folder, 0, 1.0)
    assert summary["victims"]["A"]["attacked"] == {"0": 0.30, "1": 0.60, "2": 0.50}
    assert summary["defended"]["undefended"]["frozen"] == 0.30
    assert summary["defended"]["undefended"]["relearnt"] == 0.01


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("A", "relearnt"),
        ("D", "relearnt"),
        ("D", "pgd"),
        ("D", "clean"),
        ("D", "random_lut"),
        ("B", "synth"),
    ],
)
def test_missing_results_are_one_line_and_exit_code_2(name, words, folder, capsys):
    for path in (folder / "results" / name).glob(f"*{words}*.json"):
        path.unlink()
    with pytest.raises(SystemExit) as left:
        cli.run(demo.main, [str(folder)])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error == f"error: {folder}/results/{name} lacks results of the demo; run bash runDemo.sh\n"
    assert not (folder / "summary.json").exists()


@pytest.mark.parametrize("path", ["D/model_best.pth", FILES[0], "results/D"])
def test_missing_files_are_named(path, folder):
    (folder / path).rename(folder / "elsewhere")
    with pytest.raises(ReidError, match=str(folder / path)):
        demo.summarise(folder, 0, 1.0)


def test_the_command_writes_the_summary_and_prints_both_tables(folder, capsys):
    demo.main([str(folder), "--seconds", "3"])
    assert json.loads((folder / "summary.json").read_text()) == demo.summarise(folder, 0, 3.0)
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "mAP in % A: resnet10 on synth-a B: resnet10 on synth-a",
        "type 0, colour + delta 30.0 20.0",
        "mAP in % clean frozen re-learnt PGD random sign random LUT random both",
        "undefended (A) 80.0 30.0 28.0 10.0 79.0 78.0 77.0",
        "defended (D) 79.0 70.0 60.0 25.0 79.0 78.0 77.0",
    ):
        assert line in shown


def test_a_verdict_on_another_model_is_refused(folder):
    path = folder / "results" / "D" / "reid-smoke-v1-summary.json"
    path.write_text(json.dumps(judged("D", "a model of the past")))
    with pytest.raises(ReidError, match="results/D lacks results of the demo"):
        demo.summarise(folder, 0, 1.0)


def test_the_verdict_is_a_table_of_what_was_tried():
    table = demo.verdict({"A": judged("A"), "D": judged("D")}).splitlines()
    assert table[0].split()[-3:] == ["clean", "universal", "search"]
    assert table[2].split() == ["defended", "(D)", "79.0", "48.0", "70.0"]
