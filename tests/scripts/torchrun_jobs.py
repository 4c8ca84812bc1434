"""What torchrun starts in these tests: runs scripts in turn, as their command lines do, to save start-up time.

    torchrun torchrun_jobs.py '[["metaAttack", "-s", "synth-a", ..], ..]' [STEP]

With STEP, the process of rank 1 is killed, as by the machine, in that step of an attack (counted from 1).
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import modes

from reid.attacks.universal import learn
from reid.runtime import cli, distributed


def kill_in(step: int) -> None:
    meta_step, calls = learn.meta_step, []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == step and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return meta_step(*args, **kwargs)

    learn.meta_step = dying


def main(argv: Sequence[str] | None) -> None:
    modes.apply()
    if len(sys.argv) > 2:
        kill_in(int(sys.argv[2]))
    for script, *options in json.loads(sys.argv[1]):
        importlib.import_module(script).main(options)


if __name__ == "__main__":
    cli.run(main)
