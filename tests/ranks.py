"""Runs functions in several processes that work together, as torchrun would start them, but without its start-up."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from reid.runtime import job

# one process imports everything, and each rank is a fork of it
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["torch.utils.tensorboard", "studies.demo"])


def together(size: int, functions: list[Callable[[], Any]], folder: Path) -> list[list[Any]]:
    """What each of the functions gives on each of `size` ranks: result[rank][i]. They run one after the other."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks = [
        _PROCESSES.Process(target=_run, args=(rank, size, store.port, functions, folder / f"{size}-{rank}.pt"))
        for rank in range(size)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0] * size
    return [torch.load(folder / f"{size}-{rank}.pt", weights_only=False) for rank in range(size)]


def _run(rank: int, size: int, port: int, functions: list[Callable[[], Any]], result: Path) -> None:
    torch.set_num_threads(1)
    values = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in values.items()} | {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    job.start()
    torch.save([function() for function in functions], result)
    job.stop()
