"""The script of the defence study: commands that the programs take, and rows that the page reads."""

import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import evaluate
import metaAttack
import metaDefense
from reid.defenses import DEFENSES
from reid.training.adversaries import ADVERSARIES

ROOT = Path(__file__).parents[2]
PYTHON = """#!/usr/bin/env bash
[ "$1" = - ] && exec {python} "$@"
printf '%q ' "$@" >> commands; echo >> commands
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder in which the script ran for one seed, with a Python that only writes down what it is to do."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "studies").mkdir()
    for name in ("environment.sh", "requirements.txt", "studies/defenseStudy.sh"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "python").write_text(PYTHON.format(python=shlex.quote(sys.executable)))
    (folder / "python").chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "REID_PYTHON": str(folder / "python")}
    subprocess.run(["bash", "studies/defenseStudy.sh", "1"], cwd=folder, env=environment, check=True)
    return folder


def test_every_command_is_one_that_the_program_takes(study):
    commands = [shlex.split(line) for line in (study / "commands").read_text().splitlines()]
    assert commands.pop() == ["-m", "studies.defense", "runs/defense-study"]
    parsed = Counter()
    for program, *options in commands:
        script = {"evaluate.py": evaluate, "metaAttack.py": metaAttack, "metaDefense.py": metaDefense}[program]
        args = script.parse(options)
        assert args.precision == "fp32"
        parsed[program] += 1
    assert parsed == {"metaAttack.py": 1, "metaDefense.py": 14, "evaluate.py": 15}


def test_every_row_says_how_it_was_trained(study):
    rows = [json.loads(path.read_text()) for path in study.glob("runs/defense-study/seed1/*/row.json")]
    assert {"name": "undefended", "defense": "undefended", "attackers": []} in rows
    assert {"name": "none", "defense": "none", "attackers": []} in rows
    assert {"name": "meta-all", "defense": "meta", "attackers": ["frozen", "online", "pgd"]} in rows
    assert len(rows) == 15
    assert {row["defense"] for row in rows} <= {"undefended", *DEFENSES}
    assert all(set(row["attackers"]) <= set(ADVERSARIES) for row in rows)
