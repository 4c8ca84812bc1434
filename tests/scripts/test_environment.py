"""The shell entry points refuse what cannot work in one line, and take an environment that fits as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(script, *options, **environment):
    command = ["bash", str(ROOT / script), *options]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd="/")


@pytest.mark.parametrize("seed", ["x", "-1", "1.5"])
def test_a_wrong_seed(seed):
    done = run("runDemo.sh", seed)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: the seed '{seed}' is not a whole number; run: bash runDemo.sh [SEED]\n"


@pytest.mark.parametrize("script", ["runDemo.sh", "runTests.sh", "runAttackMar.sh"])
def test_a_python_that_does_not_meet_the_requirements(script, tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    done = run(script, REID_PYTHON=str(bare))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: REID_PYTHON={bare} does not meet requirements")
    assert done.stderr.count("\n") == 1


def test_a_python_that_meets_them_is_used_as_it_is():
    line = f'source "{ROOT}/environment.sh" "{ROOT}/requirements.txt" && echo "$PYTHON"'
    environment = os.environ | {"REID_PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, sys.executable, "")


def test_the_attack_script_names_what_is_missing():
    done = run(
        "runAttackMar.sh", REID_PYTHON=sys.executable, SOURCE_NET_DIR="nowhere.pth", TARGET_NET_DIR="nowhere.pth"
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: no such checkpoint file: nowhere.pth")
