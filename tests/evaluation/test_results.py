import dataclasses
import json
import subprocess

import numpy as np
import pytest

from reid.errors import ReidError
from reid.evaluation import results
from reid.evaluation.ranking import rank
from reid.evaluation.results import (
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
        metrics=metrics_of(rank(*golden_inputs)),
        victim={"path": "pretrained_models/market.pth", "arch": "resnet50", "sha256": "ab" * 32},
        attacker={"name": "best_perturbation4.pth", "noise_type": 0, "sha256": "cd" * 32},
        dataset={"name": "market1501", "split": 0, "num_query": 60, "num_gallery": 400},
        threat={"eps_color": 8 / 255, "eps_delta": 8 / 255, "side": "query"},
        spent={"total": 0.1 + 0.2},
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
    assert record["schema_version"] == 1


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
        {"attacker": {"name": "best_perturbation4.pth", "noise_type": 0, "sha256": "ef" * 32}},
        {"attacker": {"name": "random sign", "noise_type": 2, "sha256": None}},
        {"dataset": {"name": "market1501", "split": 1, "num_query": 60, "num_gallery": 400}},
    ],
)
def test_other_experiments_go_to_other_files(tmp_path, result, change):
    write_result(tmp_path, result)
    write_result(tmp_path, dataclasses.replace(result, **change))
    assert len(read_results(tmp_path)) == 2


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


@pytest.mark.parametrize("name", [part.name for part in dataclasses.fields(Result) if part.name != "notes"])
def test_a_record_without_a_field_is_refused_by_name(tmp_path, result, name):
    path = write_result(tmp_path, result)
    edit(path, **{name: None})
    with pytest.raises(ReidError) as caught:
        read_results(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_without_a_metric_is_refused_by_name(tmp_path, result):
    path = write_result(tmp_path, result)
    edit(path, metrics={"mAP": 0.5})
    with pytest.raises(ReidError, match=r"metrics lacks mINP") as caught:
        read_result(path)
    assert str(path) in str(caught.value)


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
