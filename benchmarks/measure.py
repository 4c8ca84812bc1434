"""How every benchmark measures: each kind in a process of its own, taking turns, medians, peak memory, and the floor.

A *kind* is one way to do a job: ours, a literal rendition of the released code, a peer. It is given as `setup`, a
picklable function without arguments that prepares the job in the kind's own process and returns `step`, which does it
once. One JSON line per kind comes out of `lines`.
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
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from reid.errors import UsageError
from reid.runtime import cli
from reid.runtime.device import resolve

Step = Callable[[], Any]
Setup = Callable[[], Step]
MEGABYTE = 2**20


@dataclass(frozen=True)
class Work:
    """What no version of a job avoids: `flops` of arithmetic (a multiply-add counts two), `bytes` moved."""

    flops: float = 0.0
    bytes: float = 0.0

    def floor(self, threads: int, device: str = "cpu") -> float:
        """The seconds that this takes at least, at the machine's measured rates: the larger of the two."""
        arithmetic, bandwidth = rates(threads, device)
        return max(self.flops / arithmetic, self.bytes / bandwidth)


@cache
def rates(threads: int, device: str = "cpu") -> tuple[float, float]:
    """Measured flop/s of a float32 matrix product, and bytes/s of a copy (read and written), the best of several."""
    torch.set_num_threads(threads)
    side = 8192 if device.startswith("cuda") else 2048
    a, b = torch.rand(2, side, side, device=device)
    source = torch.rand(2**27 if device.startswith("cuda") else 2**25, device=device)
    target = torch.empty_like(source)
    product = min(_timed(lambda: torch.mm(a, b), device) for _ in range(20))
    copy = min(_timed(lambda: target.copy_(source), device) for _ in range(20))
    return 2 * side**3 / product, 2 * source.nbytes / copy


def lines(
    benchmark: str,
    kinds: Mapping[str, Setup],
    *,
    baseline: str,
    work: Work | Mapping[str, Work],
    threads: int,
    repeats: int = 5,
    once: Iterable[str] = (),
    device: str = "cpu",
    **facts: Any,
) -> list[dict[str, Any]]:
    """Measure all kinds in turns and print one JSON line for each: median seconds, peak memory, ratios.

    `work` is the job's, or each kind's where they differ. Kinds in `once` are too slow for more than one timed step.
    "speedup" is baseline / kind in this very run, "to_floor" kind / floor. `facts` (sizes, options) go into the lines.
    """
    once = set(once)
    pipes, processes = {}, []
    measured: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for kind, setup in kinds.items():
        pipes[kind], theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(setup, threads, device, theirs), daemon=True
        )
        process.start()
        theirs.close()
        processes.append(process)
    for turn in range(repeats + 1):
        for kind, pipe in pipes.items():
            if turn < 2 or kind not in once:
                pipe.send(True)
                measured[kind].append(pipe.recv())
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    seconds = {kind: statistics.median(s for s, _ in steps[1:]) for kind, steps in measured.items()}
    found = []
    for kind, steps in measured.items():
        floor = (work if isinstance(work, Work) else work[kind]).floor(threads, device)
        line = {
            "benchmark": benchmark,
            "kind": kind,
            **facts,
            "seconds": round(seconds[kind], 5),
            "peak_MB": round(max(peak for _, peak in steps), 1),
            "speedup": round(seconds[baseline] / seconds[kind], 2),
            "floor_seconds": round(floor, 5),
            "to_floor": round(seconds[kind] / floor, 2) if floor else None,
            "timed": len(steps) - 1,
            "baseline": baseline,
            **machine(threads, device),
        }
        print(json.dumps(line), flush=True)
        found.append(line)
    return found


def counted(step: Step) -> float:
    """The floating-point operations of the products and convolutions in a step, a multiply-add counted as two.

    Products with padding are counted too.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def add_options(parser: argparse.ArgumentParser, repeats: int) -> None:
    """Image size, threads, repeats, device: what the benchmarks of networks share."""
    parser.add_argument("--height", type=cli.positive_int, default=256, help="image height")
    parser.add_argument("--width", type=cli.positive_int, default=128, help="image width")
    parser.add_argument("--threads", type=cli.positive_int, default=os.cpu_count(), help="threads")
    parser.add_argument("--repeats", type=cli.positive_int, default=repeats, help="timed steps of each kind")
    parser.add_argument("--device", type=usable, default="cpu", help="cpu or cuda")
    parser.add_argument("--bf16", action="store_true", help="measure bfloat16 too, for hardware that computes in it")


def usable(device: str) -> str:
    """An argparse type: a device that is there."""
    try:
        return str(resolve(device).device)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def facts(args: argparse.Namespace) -> dict[str, Any]:
    """The options of a benchmark as keyword arguments of `lines`."""
    return {name: value for name, value in vars(args).items() if name not in ("bf16", "plugin", "debug")}


def machine(threads: int, device: str = "cpu") -> dict[str, Any]:
    """What a figure depends on besides the code."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    arithmetic, bandwidth = rates(threads, device)
    return {
        "machine": name,
        "threads": threads,
        "gflops": round(arithmetic / 1e9, 1),
        "gbytes": round(bandwidth / 1e9, 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


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
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"
