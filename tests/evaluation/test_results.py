import dataclasses
import json
import subprocess

import numpy as np
import pytest

from reid.errors import ReidError
from reid.evaluation import results
from reid.evaluation.ranking import rank
from reid.evaluation.results import (
    OPTIONAL,
    Result,
    metrics_of,
    read_result,
    read_results,
    short_hash,
    versions,
    write_result,
)


@pytest.fixture
def result(golden_inputs):
    return Result(
        metrics=metrics_of(rank(*golden_inputs, cuhk03_repeats=2)),
        victim={"path": "pretrained_models/market.pth", "arch": "resnet50", "sha256": "ab" * 32},
        attack={"name": "best_perturbation4.pth", "kind": "universal", "noise_type": 0, "sha256": "cd" * 32},
        dataset={"name": "market1501", "split": 0, "num_query": 60, "num_gallery": 400, "contents": "12" * 32},
        threat={"eps_color": 8 / 255, "eps_delta": 8 / 255, "side": "query"},
        spent={"total": 0.1 + 0.2},
        passes={"forward": 0, "backward": 0},
        protocol={"distance": "squared_euclidean", "height": 256, "width": 128},
        checks=[{"name": "budget", "passed": True, "detail": "16.00/255 of 16.00/255"}],
        seed=3,
        versions=versions(),
        command="evaluate.py --seed 3",
        seconds=1.25,
    )


def edit(path, **changes):
    record = json.loads(path.read_text())
    record.update(changes)
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))


def test_metrics_hold_every_protocol_in_full_precision(golden, result):
    assert result.metrics["mAP"] == pytest.approx(float(golden["mAP"]), abs=1e-12)
    assert set(result.metrics["cmc"]) == {"market1501", "allshots", "cuhk03"}
    assert result.metrics["cmc"]["market1501"]["5"] == golden["cmc_market1501"][4]
    assert result.metrics["num_valid"] + result.metrics["num_skipped"] == 60


def test_metrics_of_a_short_curve_hold_its_last_value(golden_inputs):
    cmc = metrics_of(rank(*golden_inputs, topk=3))["cmc"]["market1501"]
    assert cmc["5"] == cmc["10"] > cmc["1"]


def test_a_record_comes_back_as_it_was_written(tmp_path, result):
    path = write_result(tmp_path / "results", result)
    assert read_result(path) == result
    assert read_results(tmp_path / "results") == [result]
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_readable_sorted_and_exact(tmp_path, result):
    text = write_result(tmp_path, result).read_text()
    record = json.loads(text)
    assert list(record) == sorted(record)
    assert record["spent"]["total"] == 0.1 + 0.2
    assert record["protocol_hash"] == result.protocol_hash
    assert record["schema_version"] == 2


def test_the_file_name_tells_what_was_measured(result):
    assert result.file_name.startswith("market1501-resnet50-market_pth-best_perturbation4_pth-seed3-")
    assert result.file_name.endswith(".json")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"threat": {"eps_color": 4 / 255, "eps_delta": 8 / 255, "side": "query"}},
        {"protocol": {"distance": "cosine", "height": 256, "width": 128}},
        {"victim": {"path": "other/market.pth", "arch": "resnet50", "sha256": "ef" * 32}},
        {"attack": {"name": "best_perturbation4.pth", "kind": "universal", "noise_type": 0, "sha256": "ef" * 32}},
        {"attack": {"name": "random sign", "kind": "control", "noise_type": 2, "sha256": None}},
        {"dataset": {"name": "market1501", "split": 1, "num_query": 60, "num_gallery": 400, "contents": "12" * 32}},
        {"dataset": {"name": "market1501", "split": 0, "num_query": 60, "num_gallery": 400, "contents": "34" * 32}},
    ],
)
def test_other_experiments_go_to_other_files(tmp_path, result, change):
    write_result(tmp_path, result)
    write_result(tmp_path, dataclasses.replace(result, **change))
    assert len(read_results(tmp_path)) == 2


def test_settings_tell_attacks_of_one_name_apart(result):
    attack = {"name": "pgd", "kind": "image", "noise_type": None, "sha256": None}
    names = {
        dataclasses.replace(result, attack=attack | {"settings": {"steps": steps}}).file_name for steps in (15, 15, 50)
    }
    assert len(names) == 2


def test_the_same_experiment_goes_to_the_same_file_and_keeps_notes(tmp_path, result):
    path = write_result(tmp_path, result)
    edit(path, notes={"author": "a person", "link": "https://example.org"})
    moved = {**result.victim, "path": "elsewhere/market.pth"}
    again = dataclasses.replace(result, seconds=9.0, notes={"author": "a program", "more": 1})
    assert write_result(tmp_path, again) == path
    assert read_result(path).notes == {"author": "a person", "link": "https://example.org", "more": 1}
    assert read_result(path).seconds == 9.0
    assert dataclasses.replace(result, victim=moved).file_name == result.file_name


def test_a_damaged_file_is_set_aside_not_lost(tmp_path, result, caplog):
    path = write_result(tmp_path, result)
    path.write_text('{"notes": {"author": "a pers')
    assert write_result(tmp_path, result) == path
    assert read_result(path) == result
    assert (tmp_path / f"{path.name}.unreadable").read_text().startswith('{"notes"')
    assert "unreadable" in caplog.text
    assert len(read_results(tmp_path)) == 1


def test_a_failed_write_leaves_the_old_file(tmp_path, result, monkeypatch):
    path = write_result(tmp_path, result)
    before = path.read_text()
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_result(tmp_path, dataclasses.replace(result, seconds=9.0))
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [part.name for part in dataclasses.fields(Result) if part.name not in OPTIONAL])
def test_a_record_without_a_field_is_refused_by_name(tmp_path, result, name):
    path = write_result(tmp_path, result)
    edit(path, **{name: None})
    with pytest.raises(ReidError) as caught:
        read_results(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_from_before_the_detector_is_read(tmp_path, result):
    path = write_result(tmp_path, dataclasses.replace(result, detector={"found": 0.5}))
    assert read_result(path).detector == {"found": 0.5}
    edit(path, detector=None)
    assert read_result(path) == result


def test_a_record_without_a_metric_is_refused_by_name(tmp_path, result):
    path = write_result(tmp_path, result)
    edit(path, metrics={"mAP": 0.5})
    with pytest.raises(ReidError, match=r"metrics lacks mINP") as caught:
        read_result(path)
    assert str(path) in str(caught.value)


OLD_NAMES = [
    ("clean", None, None, "clean"),
    ("0/best_perturbation4.pth", 0, "cd" * 32, "universal"),
    ("random/PGD/best_perturbation4.pth", 1, "cd" * 32, "universal"),
    ("random sign 8", 2, None, "control"),
    ("random both 4+8", 0, None, "control"),
    ("re-learnt type 0, restart 1 of 3", 0, "ef" * 32, "relearnt"),
    ("PGD 8, 15 steps", None, None, "image"),
]


@pytest.mark.parametrize(("name", "noise_type", "digest", "kind"), OLD_NAMES)
def test_a_record_of_the_first_schema_is_read_with_the_kind_that_its_name_meant(
    tmp_path, name, noise_type, digest, kind
):
    attacker = {"name": name, "noise_type": noise_type, "sha256": digest, "learnt_on": None}
    cmc = {"market1501": {"1": 0.5, "5": 0.75, "10": 1.0}}
    counts = {"num_valid": 4, "num_skipped": 0}
    record = {
        "attacker": attacker,
        "checks": [{"name": "budget", "passed": True, "detail": "spent"}],
        "command": "evaluate.py -d market1501",
        "dataset": {"name": "market1501", "split": 0, "num_query": 4, "num_gallery": 9},
        "metrics": {"mAP": 0.5, "mINP": 0.25, "chance_mAP": 0.1, "cmc": cmc, **counts},
        "notes": {"author": "a person"},
        "protocol": {"distance": "euclidean", "side": "query"},
        "protocol_hash": "0123abcd",
        "schema_version": 1,
        "seconds": 1.5,
        "seed": 3,
        "spent": {"total": 0.03},
        "threat": {"eps_color": 8 / 255, "eps_delta": 0.0, "side": "query"},
        "versions": {"torch": "2.11.0"},
        "victim": {"path": "market.pth", "arch": "resnet50", "sha256": "ab" * 32},
    }
    (tmp_path / "old.json").write_text(json.dumps(record))
    (result,) = read_results(tmp_path)
    assert result.attack == attacker | {"kind": kind}
    assert result.passes == {}
    assert (result.seed, result.notes, result.metrics["mAP"]) == (3, {"author": "a person"}, 0.5)
    write_result(tmp_path / "new", result)
    assert read_results(tmp_path / "new") == [result]


@pytest.mark.parametrize("attacker", [None, "clean", {"name": "clean"}])
def test_a_record_of_the_first_schema_without_a_whole_attacker_is_refused_by_name(tmp_path, attacker):
    (tmp_path / "old.json").write_text(json.dumps({"schema_version": 1, "attacker": attacker}))
    with pytest.raises(ReidError, match=r"old\.json lacks"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"schema_version": 99}', "\x00\xff"])
def test_other_files_are_refused_by_name(tmp_path, text):
    (tmp_path / "strange.json").write_text(text)
    with pytest.raises(ReidError, match=r"strange\.json"):
        read_results(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ReidError, match="nowhere"):
        read_results(tmp_path / "nowhere")


def test_an_incomplete_record_cannot_be_made(result):
    with pytest.raises(ReidError, match="victim lacks sha256"):
        dataclasses.replace(result, victim={"path": "a.pth", "arch": "resnet50"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_values_without_a_json_form_are_refused(tmp_path, result, value):
    with pytest.raises(ReidError, match="JSON"):
        write_result(tmp_path, dataclasses.replace(result, spent={"total": value}))
    assert not list(tmp_path.iterdir())


def test_numpy_values_become_plain_numbers(tmp_path, result):
    path = write_result(tmp_path, dataclasses.replace(result, spent={"total": np.float64(0.5)}))
    assert read_result(path).spent == {"total": 0.5}


def test_the_hash_ignores_the_order_of_keys_only():
    assert short_hash({"a": 1, "b": 2}) == short_hash({"b": 2, "a": 1})
    assert short_hash({"a": 1, "b": 2}) != short_hash({"a": 2, "b": 1})


def test_versions_name_the_commit_of_the_checkout(tmp_path, monkeypatch):
    package = tmp_path / "reid"
    package.mkdir()
    monkeypatch.setattr(results.reid, "__file__", str(package / "__init__.py"))
    assert versions()["commit"] is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert versions()["commit"] is None  # no commit yet
    (package / "file").write_text("one")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    commit = versions()["commit"]
    assert len(commit) == 40
    (package / "file").write_text("two")
    assert versions()["commit"] == f"{commit}-dirty"
