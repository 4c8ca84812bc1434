"""The script of the defence study: commands that the programs take, and only those that a record is missing for."""

import os
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from invented import write_record

import evaluate
import metaDefense
from reid.synthperson.__main__ import DEFAULTS
from studies.defense_results import ROWS, TRAINED

ROOT = Path(__file__).parents[2]
# Writes down what it is to do. A record is made up, and what is chosen by it is chosen indeed; training leaves a card.
PYTHON = """#!/usr/bin/env bash
case "$1 $2" in
  "- requirements"*) exit 0 ;;
  "-m studies.defense") PYTHONPATH={root}:${{PYTHONPATH:-}} exec {python} "$@" ;;
esac
printf '%q ' "$@" >> commands; echo >> commands
while [ $# -gt 0 ]; do
  case $1 in
    --out) mkdir -p "$(dirname "$2")"; cp made-up/"$(basename "$(dirname "$2")")".json "$2" ;;
    --logs_dir) mkdir -p "$2"; touch "$2/card.md" ;;
  esac
  shift
done
"""


@pytest.fixture
def folder(tmp_path):
    """A checkout with nothing but the script, the demos, and a Python that does nothing. Rows are as good as their
    place in ROWS."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "docs").mkdir()
    for name in ("environment.sh", "requirements.txt", "requirements-extras.txt", "studies/defenseStudy.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "python").write_text(PYTHON.format(python=shlex.quote(sys.executable), root=shlex.quote(str(ROOT))))
    (tmp_path / "python").chmod(0o755)
    for demo in ("demo", *(f"demo-seed{seed}" for seed in range(1, 5))):
        (tmp_path / "runs" / demo / "A").mkdir(parents=True)
        (tmp_path / "runs" / demo / "A" / "model_best.pth").touch()
    (tmp_path / "osnet.onnx").touch()
    (tmp_path / "made-up").mkdir()
    for place, row in enumerate([*ROWS, "anchored-anchor-0.25", "anchored-anchor-4"]):
        made_up = write_record(tmp_path / "any", "seed0", row, "test", 0.5 + 0.01 * place)
        shutil.copy(made_up, tmp_path / "made-up" / f"{row}.json")
    return tmp_path


def run(folder, *parts, check=True, **environment):
    """What the script prints, and the commands that it gave."""
    environment = os.environ | {"REID_PYTHON": str(folder / "python")} | environment
    command = ["bash", "studies/defenseStudy.sh", *parts]
    (folder / "commands").write_text("")
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=check)
    return done, [shlex.split(line) for line in (folder / "commands").read_text().splitlines()]


def programs(commands):
    return [words[1] if words[0] == "-m" else words[0] for words in commands]


def test_a_seed_trains_each_row_once_and_judges_it_twice(folder):
    done, commands = run(folder, "1")
    assert programs(commands).count("metaDefense.py") == len(TRAINED)
    assert programs(commands).count("evaluate.py") == programs(commands).count("studies.record") == 2 * len(ROWS)
    found = {path.relative_to(folder / "studies/defense-records") for path in folder.rglob("seed1/*/*.json")}
    assert found == {Path("seed1", row, f"{name}.json") for row in ROWS for name in ("validation", "test")}
    assert (folder / "docs/defense-results.md").read_text().startswith("# Defence results\n")
    assert done.stderr.count("\n") == 2 * len(ROWS)


def test_every_command_is_one_that_the_program_takes(folder):
    _, commands = run(folder, OSNET="osnet.onnx")
    trained = {}
    for words in commands:
        if words[0] == "metaDefense.py":
            args = metaDefense.parse(words[1:])
            trained.setdefault(args.logs_dir.parent.name, []).append(args)
            assert (args.source, args.mte, args.precision) == ("synth-a", "synth-virtual", "fp32")
        elif words[0] == "evaluate.py":
            args = evaluate.parse(words[1:])
            assert (args.dataset, args.precision, args.reuse) == ("synth-a", "fp32", True)
        elif words[1] == "reid.synthperson":
            assert words[2] in DEFAULTS
        else:
            assert words[:2] == ["-m", "studies.record"]
    assert trained.keys() == {*TRAINED, "anchored-anchor-0.25", "anchored-anchor-4"}
    assert {args.epochs * args.iters_per_epoch for each in trained.values() for args in each} == {300}
    assert all(args.defense == row.partition("-")[0] for row, each in trained.items() for args in each)
    assert [args.anchor for row in ("anchored-anchor-0.25", "anchored-anchor-4") for args in trained[row]] == [
        0.25,
        4.0,
    ]
    attackers = {tuple(args.attacker) for row, each in trained.items() for args in each if row != "none"}
    assert attackers == {("online-delta", "pgd", "pgd")}


def test_what_is_chosen_is_judged_further(folder):
    """The last rows of ROWS have the best records."""
    _, commands = run(folder, OSNET="osnet.onnx")
    records = [Path(words[words.index("--out") + 1]) for words in commands if "studies.record" in words]
    records = {path.relative_to("studies/defense-records") for path in records}
    first = {f"seed{seed}/{row}/{name}.json" for seed in range(3) for row in ROWS for name in ("validation", "test")}
    more = {f"seed{seed}/{row}/test.json" for seed in (3, 4) for row in ("undefended", "anchored", "trades", "gallery")}
    standard = {f"seed0/{row}/standard.json" for row in ("trades", "gallery")}
    curve = {f"seed0/anchored-anchor-{weight}/test.json" for weight in (0.25, 4)}
    others = {f"osnet/{row}/test.json" for row in ("undefended", "anchored", "trades", "gallery")}
    assert set(map(str, records)) == first | more | standard | curve | others
    suites = {words[words.index("--suite") + 1] for words in commands if words[0] == "evaluate.py"}
    assert suites == {"reid-fast-v1", "reid-standard-v1"}
    for words in (words for words in commands if words[0] == "evaluate.py"):
        judged_on = Path(words[words.index("--results") + 1]).name
        chosen = words[words.index("--identities") + 1] == "validation"
        assert chosen == (judged_on == "validation")


def test_what_has_a_record_is_not_done_again(folder):
    run(folder, "0")
    removed = folder / "studies/defense-records/seed0/fare/test.json"
    removed.unlink()
    _, commands = run(folder, "0")
    assert programs(commands) == ["metaDefense.py", "evaluate.py", "studies.record"]  # which finds its model, and ends
    assert removed.exists()
    (folder / "runs/demo/A/model_best.pth").unlink()
    assert run(folder, "0")[1] == []


def test_a_record_is_made_of_the_results_that_were_written(folder):
    _, commands = run(folder, "0")
    for judged, kept in pairwise(commands):
        if judged[0] == "evaluate.py":
            assert kept[2] == judged[judged.index("--results") + 1]
            assert kept[kept.index("--start") + 1] == "runs/demo/A/model_best.pth"
    options = {words[words.index("--trained") + 1] for words in commands if "studies.record" in words}
    assert "" in options
    assert any(words.startswith("--defense meta --attacker online-delta pgd pgd") for words in options)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["3"], "error: no part is called '3'; they are 0, 1, 2, more, standard, curve and osnet"),
        (["osnet"], "error: no validation records in all of the seeds 0 1 2 of none, adversarial"),
        (["2"], "error: no runs/demo-seed2/A/model_best.pth; run bash runDemo.sh 2 first"),
    ],
)
def test_what_cannot_be_is_one_line(parts, words, folder):
    shutil.rmtree(folder / "runs/demo-seed2")
    done, commands = run(folder, *parts, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(words)
    assert commands == []
