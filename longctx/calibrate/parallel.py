"""Cases in several processes at a time, each with its share of the cores and of memory."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from longctx.calibrate.cases import Case
from longctx.calibrate.result import CaseResult
from longctx.calibrate.run import OpenBackend, calibrate, run_case
from longctx.environment import num_cores

_MAX_PROCESSES = 4
"""Each loads torch, and cases are too few and too short for more."""


def choose_processes(device: str) -> int:
    """One for each core of a CPU, whose small matrix products gain nothing from a second one; else one."""
    return min(_MAX_PROCESSES, num_cores()) if device == "cpu" else 1


def calibrate_in_parallel(
    cases: Sequence[Case], folder: Path, open_backend: OpenBackend, phantoms: Path, device: str, num_processes: int
) -> Iterator[CaseResult]:
    """As `calibrate`, with several cases at a time; the results come in the order of the cases."""
    if min(num_processes, len(cases)) < 2:
        yield from calibrate(cases, folder, open_backend, phantoms, device)
        return
    spawning = multiprocessing.get_context("spawn")  # a fork of a process whose threads compute may hang
    with ProcessPoolExecutor(num_processes, spawning, _take_share, (num_processes,)) as pool:
        futures = [pool.submit(run_case, case, folder, open_backend, phantoms, device) for case in cases]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _take_share(num_processes: int) -> None:
    """What a launcher tells the processes that it starts on a machine, and threads for a part of its cores."""
    import torch

    os.environ["LOCAL_WORLD_SIZE"] = str(num_processes)
    torch.set_num_threads(max(1, num_cores() // num_processes))
