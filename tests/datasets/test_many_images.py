"""What it costs to list, to convert and to load sets of many images or of large numbers. Only their names exist."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say it there")


def load(name: str, count: int, root: Path, first: int = 1) -> tuple[float, float]:
    """Seconds of the processor and peak memory in GB with which a process loads a set of `count` images."""
    command = [sys.executable, str(Path(__file__).with_name("million.py")), name, str(count), str(root), str(first)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 0, done.stderr
    images, seconds, memory = done.stdout.split()
    assert int(images) == count
    return float(seconds), float(memory)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["folder", "market1501"])
def test_a_million_images_load_within_30_seconds_and_1_5_GB(tmp_path, name):
    if name == "market1501":  # the first time converts
        assert load(name, 10**6, tmp_path)[1] < 1.5
    seconds, memory = load(name, 10**6, tmp_path)
    assert seconds < 30
    assert memory < 1.5


def test_dates_as_numbers_cost_nothing(tmp_path):
    _, memory = load("market1501", 4000, tmp_path, first=20240115123000)
    assert memory < 0.3
    assert (tmp_path / "market1501/meta.json").stat().st_size < 2**20
