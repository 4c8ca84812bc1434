"""The job that this process is a part of, alone or with others of torchrun; it ends with one line. Without torch."""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from reid.runtime import terminal

TIMEOUT = timedelta(minutes=10)  # without an answer for this long, a process counts as lost


class Lost(BaseException):
    """Another process of the job is gone, so this one cannot go on. Like an interrupt, nothing should swallow it."""


class _Job:
    """What this process knows of its job."""

    size, rank = 1, 0
    store: Any = None  # which all processes can read and write, and which outlives each of them
    resume = "start them again"
    wakeup: Any = None


def start() -> None:
    """Join the other processes, if torchrun (or anything that sets WORLD_SIZE, RANK, MASTER_ADDR) started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    import torch
    import torch.distributed as dist

    with watched():
        base, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store of torchrun outlives its restarts
        store, _Job.store = (dist.PrefixStore(attempt, each) for each in (base, base.clone()))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    _Job.size, _Job.rank = size, rank
    _answer_sigterm()


def stop() -> bool:
    """Leave the job, once everything is done; says whether there were other processes."""
    if size() == 1:
        return False
    import torch.distributed as dist

    dist.destroy_process_group()
    _Job.size, _Job.rank, _Job.store = 1, 0, None
    return True


def size() -> int:
    """How many processes work together."""
    return _Job.size


def rank() -> int:
    """The number of this process, from 0."""
    return _Job.rank


def is_main() -> bool:
    """Whether this is the process that writes files, logs and tables: rank 0."""
    return rank() == 0


def local_rank() -> int:
    """The number of this process on its own machine, and of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if size() > 1 else 0


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Turns what torch raises when a message fails into Lost."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(str(error)) from error


def is_loss(error: RuntimeError) -> bool:
    """Whether an error that was raised elsewhere, as by a GPU that waits for another, comes from a failed message."""
    if size() == 1:
        return False
    import torch.distributed as dist

    return isinstance(error, dist.DistError)


def can_resume(words: str) -> None:
    """Remember from where the job could go on, for the line that says that it was lost."""
    _Job.resume = words


def report(line: str) -> None:
    """Print the line with which the job ends on stderr, unless another of its processes has printed one already."""
    if _Job.store is not None:
        with contextlib.suppress(RuntimeError):  # the store is gone with the machine of rank 0: then all may speak
            if _Job.store.add("last lines", 1) > 1:
                return
    terminal.clear()
    with contextlib.suppress(OSError):  # nobody reads it any more
        print(line, file=sys.stderr, flush=True)


def report_lost(error: BaseException) -> None:
    words = re.sub(r"^\[[^]]*\] *|\n.*", "", str(error), flags=re.DOTALL)  # without the place in torch's source
    _report_end(f"lost another one ({words.partition('. ')[0]})")


def _report_end(what: str) -> None:
    report(f"error: process {os.environ.get('RANK')} of {os.environ.get('WORLD_SIZE')} {what}; {_Job.resume}")


def _answer_sigterm() -> None:
    """On SIGTERM, by which torchrun ends the others when one is lost: one line, even from within a long computation."""
    reading, writing = socket.socketpair()  # Windows cannot tell a pipe not to block
    writing.setblocking(False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    _Job.wakeup = writing  # closed when nothing refers to it

    def wait() -> None:
        while reading.recv(1) != bytes([signal.SIGTERM]):
            pass
        _report_end("was told to stop, as torchrun does when another one is lost")
        os._exit(1)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()
