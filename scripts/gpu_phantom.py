"""Phantoms at 1M and 10M tokens through the streamed cache, with most keys and values in host memory.

A phantom that sees half of each length is swept to that length, packed, and judged answer by answer: the heatmap must
turn dark where it is designed to. `--device cpu --lengths 8k --kv-device 8MiB` tries the script where there is no GPU.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import torch

from longctx import environment
from longctx.calibrate.cases import ADVERTISED, Case
from longctx.calibrate.page import write_calibration
from longctx.calibrate.result import CaseResult
from longctx.calibrate.run import open_hf, run_case
from longctx.config import SweepConfig
from longctx.files import write_atomically
from longctx.lengths import format_length, parse_lengths
from longctx.phantom.design import Design
from longctx.report.write import read_summary, write_report
from longctx.sizes import parse_bytes

_MODELS = Path("runs/phantoms")
_DEPTHS = tuple(i / 10 for i in range(11))
# One head of 128 is little work for a large GPU: only a long chunk has queries enough for all of it.
_QUERIES, _MIN_CHUNK = 65_536, 256


def make_case(length: int, dtype: str, device_bytes: int) -> Case:
    """A window of half of `length`, swept from an eighth of it on."""
    lengths = tuple(length * eighths // 8 for eighths in (1, 2, 3, 4, 5, 6, 8))
    config = SweepConfig(
        lengths=lengths,
        depths=_DEPTHS,
        trials=1,
        design="packed",
        dtype=dtype,
        chunk=max(_MIN_CHUNK, min(_QUERIES, length // 64)),
        controls=False,
    )
    return Case(Design(ADVERTISED, edges=(length // 2,)), config, device_bytes=device_bytes)


def peak_bytes(device: str) -> int | None:
    return int(torch.cuda.max_memory_allocated()) if device.startswith("cuda") else None


def measure(case: Case, out: Path, device: str) -> tuple[CaseResult, dict[str, Any]]:
    """Run one case; returns its result, and its figures."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    start = time.monotonic()
    result = run_case(case, out, open_hf, _MODELS, device)
    seconds = time.monotonic() - start
    write_report([read_summary(out / result.folder)], out / result.folder)
    return result, {
        "length": max(case.config.lengths),
        "chunk": case.config.chunk,
        "seconds": round(seconds, 1),
        "seconds_of_answers": round(sum(one.row.seconds for one in result.judged), 1),
        "device_kv_budget_bytes": case.device_bytes,
        "peak_device_bytes": peak_bytes(device),
        "num_cells": result.num_cells,
        "num_off": len(result.off),
        "verdict": result.verdict,
    }


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--device", default="cuda", show_default=True)
@click.option("--lengths", default="1M,10M", show_default=True)
@click.option("--dtype", default="bfloat16", show_default=True)
@click.option("--kv-device", default="1GiB", show_default=True, help="Keys and values on the device.")
def main(out: Path, device: str, lengths: str, dtype: str, kv_device: str) -> None:
    results, figures = [], []
    for length in parse_lengths(lengths):
        result, measured = measure(make_case(length, dtype, parse_bytes(kv_device)), out, device)
        results.append(result)
        figures.append(measured)
        click.echo(f"{format_length(length)}: {measured}")
    write_calibration(results, out)
    told = {"hardware": environment.hardware(), "code": environment.code_version(), "runs": figures}
    write_atomically(out / "gpu-phantom.json", json.dumps(told, indent=1).encode() + b"\n")
    if not all(result.ok for result in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
