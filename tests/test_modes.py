"""The mode of the tests holds in this process and in those that tests start."""

import os
import subprocess
import sys
from pathlib import Path

import modes
import pytest
import torch

from reid.runtime import device

SAY = "import modes, torch; modes.apply(); from reid.runtime import device;"
SAY += "print(device.resolve('cpu').precision, torch.get_num_threads())"


def test_the_precision_and_the_threads_of_this_process_are_those_of_its_mode():
    assert (device.resolve("cpu").precision, torch.get_num_threads()) == (modes.PRECISION, modes.THREADS)


@pytest.mark.parametrize(("precision", "threads"), [("fp32", "2"), ("bf16", "1")])
def test_the_environment_chooses_the_mode(precision, threads):
    chosen = {"REID_TEST_PRECISION": precision, "REID_TEST_THREADS": threads}
    here = Path(__file__).parent
    environment = os.environ | chosen | {"PYTHONPATH": f"{here}:{here.parent}"}
    said = subprocess.run([sys.executable, "-c", SAY], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [precision, threads]
