"""The frame of every training run: go on where a state says, one epoch after the other, log and save after each."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from reid.errors import CheckpointError
from reid.runtime import distributed
from reid.runtime.progress import progress
from reid.runtime.runlog import RunLog
from reid.runtime.snapshot import STATE_FILE, Run

logger = logging.getLogger(__name__)


def run_epochs(
    run: Run,
    epochs: int,
    *,
    restore: Callable[[dict[str, Any]], None],
    epoch: Callable[[int, RunLog], dict[str, Any]],
    state: Callable[[], dict[str, Any]],
) -> None:
    """Call `epoch(number, log)` for every epoch (0-based) that is not done yet, and record the numbers it returns.

    After each, rank 0 writes `state()` to the run's folder; `restore` takes what a killed run wrote. All randomness of
    an epoch must follow from its number. Raises CheckpointError for a state that does not fit.
    """
    start = 0
    saved = distributed.from_main(run.load)
    if saved is not None:
        start = saved["epoch"]
        try:
            restore(saved)
        except (KeyError, RuntimeError, ValueError) as error:
            problem = f"does not fit ({' '.join(str(error).split())[:120]}): the data have changed since"
            if isinstance(error, KeyError):
                problem = f"lacks {error}: it is the state of another script or version"
            raise CheckpointError(f"{run.source} {problem}; use another --logs_dir") from error
        logger.info("resumed after epoch %d of %d", start, epochs)
        _can_resume(run.source, start)
    with RunLog(run.logs_dir, start) as log:
        for number in progress(range(start, epochs), epochs, "epoch", done=start):
            began = time.perf_counter()
            values = epoch(number, log)
            distributed.from_main(partial(log.epoch, number, **values, seconds=time.perf_counter() - began))
            distributed.from_main(partial(run.save, number + 1, **state()))
            _can_resume(run.logs_dir / STATE_FILE, number + 1)


def _can_resume(state: Path | None, epochs: int) -> None:
    distributed.can_resume(f"go on after epoch {epochs} with --resume-from {state}")
