"""Processes that run one function together, joined by gloo, as a launcher starts one a GPU."""

import multiprocessing
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 120.0  # for a busy machine; a rank that waits in vain for another one ends there


def run_ranks(of: int, work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `work(rank)` gave in each of `of` processes. One that failed fails the test.

    They are forked: torch and the engine are loaded already. Results are plain types and tensors.
    """
    folder.mkdir()
    processes = [
        multiprocessing.get_context("fork").Process(target=_run, args=(rank, of, work, folder))
        for rank in range(of)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    late = [rank for rank, process in enumerate(processes) if process.is_alive()]
    for process in processes:
        process.kill()
        process.join()
    failures = [path.read_text() for path in sorted(folder.glob("*.failure"))]
    assert not failures, "\n".join(failures)
    assert not late, f"ranks {late} of {of} waited in vain"
    return [torch.load(folder / f"{rank}.pt") for rank in range(of)]


def _run(rank: int, of: int, work: Callable[[int], Any], folder: Path) -> None:
    torch.set_num_threads(1)  # the parent's threads are not in a fork
    try:
        store = f"file://{folder / 'store'}"
        dist.init_process_group("cpu:gloo", init_method=store, rank=rank, world_size=of)
        torch.save(work(rank), folder / f"{rank}.pt")
        dist.destroy_process_group()
    except BaseException:
        (folder / f"{rank}.failure").write_text(f"rank {rank}:\n{traceback.format_exc()}")
        raise
