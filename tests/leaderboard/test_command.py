"""The command: what it refuses and passes over, that it needs no torch, and that 10,000 results are soon read."""

import json
import subprocess
import sys
import time

import pytest

from reid.evaluation.results import write_result
from reid.leaderboard import __main__ as command
from tests.leaderboard.conftest import record

MAIN = """
import re, sys
from reid.leaderboard.__main__ import main
main(sys.argv[1:])
assert "torch" not in sys.modules
try:
    print(int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)  # MB at its peak
except OSError:
    print(0)  # a system that does not tell
"""


@pytest.fixture
def folder(tmp_path):
    for result in (record(0.9), record(0.5, "image")):
        write_result(tmp_path / "results", result)
    return tmp_path / "results"


def changed(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


BROKEN = {
    "cut": lambda path: path.write_text(path.read_text()[:500]),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "nested": lambda path: path.write_text("[" * 100_000),
    "no victim": lambda path: changed(path, lambda values: values.pop("victim")),
    "no side": lambda path: changed(path, lambda values: values["protocol"].pop("side")),
    "another version": lambda path: changed(path, lambda values: values.update(schema_version=9)),
    "mAP in words": lambda path: changed(path, lambda values: values["metrics"].update(mAP="0.5")),
    "mAP is no number": lambda path: changed(path, lambda values: values["metrics"].update(mAP=float("nan"))),
    "mAP in percent": lambda path: changed(path, lambda values: values["metrics"].update(mAP=50)),
    "unknown kind": lambda path: changed(path, lambda values: values["attack"].update(kind="magic")),
    "odd kind": lambda path: changed(path, lambda values: values["attack"].update(kind=[])),
    "no settings": lambda path: changed(path, lambda values: values["attack"].update(kind="relearnt", settings=[])),
    "no threat": lambda path: changed(path, lambda values: values.update(threat={})),
    "endless eps": lambda path: changed(path, lambda values: values["threat"].update(eps_delta=float("inf"))),
    "list for a part": lambda path: changed(path, lambda values: values.update(dataset=["name", "split", "num_query"])),
    "checks": lambda path: changed(path, lambda values: values.update(checks=3)),
    "num_query": lambda path: changed(path, lambda values: values["dataset"].update(num_query="many")),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_damaged_result_is_named_and_nothing_is_written(what, folder, tmp_path, refused):
    (path,) = folder.glob("*image*.json")
    BROKEN[what](path)
    line = refused(command.main, [folder, "-o", tmp_path / "out"])
    assert path.name in line
    assert len(line) < 600
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("summary", ["[]", "{}", '{"model": 3, "protocol": {}, "dataset": "", "flags": []}'])
def test_a_damaged_summary_is_named(summary, folder, tmp_path, refused):
    (folder / "reid-fast-v1-summary.json").write_text(summary)
    assert "reid-fast-v1-summary.json" in refused(command.main, [folder, "-o", tmp_path / "out"])


def test_what_there_is_nothing_to_make_of(folder, tmp_path, refused):
    out = ["-o", tmp_path / "out"]
    assert "no such results folder" in refused(command.main, [tmp_path / "none", *out])
    (tmp_path / "empty").mkdir()
    assert "no results in" in refused(command.main, [tmp_path / "empty", *out])
    write_result(tmp_path / "clean", record(0.9))
    assert "has a clean result and an attack" in refused(command.main, [tmp_path / "clean", *out])
    (tmp_path / "file").write_text("")
    assert "is a file; give a folder" in refused(command.main, [folder, "-o", tmp_path / "file"])
    assert "none of html, md, tex, csv" in refused(command.main, [folder, "--format", "pdf"])


def test_other_json_is_passed_over_and_counted(build, folder, tmp_path):
    (folder / "lists.json").write_text('{"schema_version": 1, "rows": {}}')
    (folder / "settings.json").write_text("[]")
    assert "Left out are 2 JSON files that are no results." in build()["leaderboard.md"]


def test_a_result_of_version_1_is_read(build, folder):
    """It has another name for the attack, and lacks settings, contents and needs."""
    for path in folder.glob("*.json"):
        values = json.loads(path.read_text())
        attack = {key: values["attack"][key] for key in ("name", "noise_type", "sha256")}
        attack["name"] = {"image": "PGD 8/255"}.get(attack["name"], attack["name"])
        values |= {"attacker": attack, "schema_version": 1}
        del values["attack"], values["dataset"]["contents"]
        path.write_text(json.dumps(values))
    assert "| 50.0 |" in build()["leaderboard.md"]


def test_it_needs_no_torch(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MAIN, folder, "-o", tmp_path / "out"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 200


@pytest.mark.slow
def test_ten_thousand_results_are_built_in_half_a_minute_and_half_a_gigabyte(tmp_path):
    for model in range(400):
        own = {"victim": {"path": f"{model}/best.pth", "sha256": f"{model:064x}"}}
        write_result(tmp_path / f"results/{model}", record(0.9, **own))
        for place in range(24):
            attack = record((place + 1) / 99, "image", f"attack {place}", eps=(1 + place % 4) / 255, **own)
            write_result(tmp_path / f"results/{model}", attack)
    assert len(list((tmp_path / "results").rglob("*.json"))) == 10_000
    began = time.perf_counter()
    command_line = [sys.executable, "-c", MAIN, tmp_path / "results", "-o", tmp_path / "out"]
    done = subprocess.run(command_line, capture_output=True, text=True, check=True)
    assert time.perf_counter() - began < 30
    assert int(done.stdout.split()[-1]) < 500
    assert (tmp_path / "out/leaderboard.html").read_text().count('scope="row"') == 1600
