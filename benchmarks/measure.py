"""How every benchmark measures: each kind in a process of its own, taking turns; medians and peak memory.

A *kind* is one way to do a job: ours, or a plain rendition of the released code. It is given as `setup`, a picklable
function without arguments that prepares the job in the kind's own process and returns `step`, which does it once.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reid import models
from reid.errors import UsageError
from reid.runtime import cli
from reid.runtime.device import resolve

Step = Callable[[], Any]
Setup = Callable[[], Step]
MEGABYTE = 2**20
REPOSITORY = Path(__file__).parent.parent


class Kind(NamedTuple):
    """One way to do a job, in one precision."""

    name: str
    precision: str = "fp32"


PLAIN, OURS = Kind("plain"), Kind("ours")


def lines(
    job: str,
    kinds: Mapping[Kind, Setup],
    *,
    baseline: Kind = PLAIN,
    threads: int,
    repeats: int,
    once: Iterable[Kind] = (),
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Measure all kinds in turns and print one JSON line for each: median seconds, peak MB, seconds of the baseline.

    The first turn warms up and is not counted. Kinds in `once` are too slow for more than one timed step.
    """
    once = set(once)
    measured: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with contextlib.ExitStack() as stack:
        pipes = {kind: stack.enter_context(_served(setup, threads, device)) for kind, setup in kinds.items()}
        for turn in range(repeats + 1):
            for kind, pipe in pipes.items():
                if turn < 2 or kind not in once:
                    pipe.send(True)
                    measured[kind].append(pipe.recv())
    seconds = {kind: statistics.median(each for each, _ in steps[1:]) for kind, steps in measured.items()}
    peaks = {kind: max(peak for _, peak in steps) for kind, steps in measured.items()}
    results = [
        {
            "job": job,
            "kind": kind.name,
            "precision": kind.precision,
            "seconds": round(seconds[kind], 5),
            "peak_MB": round(peaks[kind], 1),
            "baseline": baseline.name,
            "baseline_seconds": round(seconds[baseline], 5),
            "timed": len(steps) - 1,
            **conditions(threads, device),
        }
        for kind, steps in measured.items()
    ]
    for line in results:
        print(json.dumps(line), flush=True)
    return results


def precisions(device: str) -> list[str]:
    """fp32, and bf16 where the hardware computes in it."""
    return ["fp32", "bf16"] if resolve(device).precision == "bf16" else ["fp32"]


def add_options(parser: argparse.ArgumentParser, batch_size: int, repeats: int) -> None:
    """Network, sizes, threads, repeats, device: what the benchmarks of networks share."""
    parser.add_argument("--arch", choices=models.names(), default="resnet50", help="network")
    parser.add_argument("--batch_size", type=cli.positive_int, default=batch_size, help="images of a batch")
    add_sizes(parser, repeats)
    parser.add_argument("--device", type=usable, default="cpu", help="cpu or cuda")


def add_sizes(parser: argparse.ArgumentParser, repeats: int) -> None:
    """Image size, threads and repeats."""
    parser.add_argument("--height", type=cli.positive_int, default=256, help="image height")
    parser.add_argument("--width", type=cli.positive_int, default=128, help="image width")
    parser.add_argument("--threads", type=cli.positive_int, default=os.cpu_count(), help="threads")
    parser.add_argument("--repeats", type=cli.positive_int, default=repeats, help="timed steps of each kind")


def usable(device: str) -> str:
    """An argparse type: a device that is there."""
    try:
        return str(resolve(device).device)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def network_job(name: str, args: argparse.Namespace) -> str:
    """The name of a job of a network: what, which network, which sizes."""
    return f"{name}, {args.arch}, {args.height} x {args.width}, batch {args.batch_size}"


def conditions(threads: int, device: str = "cpu") -> dict[str, Any]:
    """What a figure depends on besides the job: machine, versions, commit, date."""
    return {
        "machine": torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor(),
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _commit() -> str:
    """The commit in use; with a plus sign where the code in the working tree is not that of the commit."""
    git = ("git", "-C", str(REPOSITORY))
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "*.py", "*.sh"]).returncode
    return head.stdout.strip() + ("+" if changed else "")


@contextlib.contextmanager
def _served(setup: Setup, threads: int, device: str) -> Iterator[Connection]:
    """A pipe to a process that does a job whenever it is asked to."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(setup, threads, device, theirs), daemon=True
    )
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        with contextlib.suppress(OSError):
            ours.send(False)
        process.join()


def _serve(setup: Setup, threads: int, device: str, pipe: Connection) -> None:
    """In a process of its own: do the job once at each message, answer with seconds and MB above those of the start."""
    torch.set_num_threads(threads)
    step = setup()
    _release()
    before = _start_peak(device)  # once: what a step leaves allocated for the next one counts
    while pipe.recv():
        _start_peak(device)
        seconds = _timed(step, device)
        pipe.send((seconds, (_peak(device) - before) / MEGABYTE))


def _release() -> None:
    """Give the memory that the setup has freed back to the system."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _timed(step: Step, device: str) -> float:
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.synchronize()
    began = time.perf_counter()
    step()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _start_peak(device: str) -> float:
    """Bytes held now; the peak is counted from here on."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _status("VmRSS")


def _peak(device: str) -> float:
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else _status("VmHWM")


def _status(name: str) -> float:
    with open("/proc/self/status") as file:
        return next(1024.0 * int(line.split()[1]) for line in file if line.startswith(name + ":"))


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown CPU")
    instructions = torch.backends.cpu.get_cpu_capability()
    if resolve("cpu").precision == "bf16":
        instructions += " with bfloat16"
    return f"{model}, {instructions}, {os.cpu_count()} cores"
