"""The default sweep of the embedded model in process, through transformers' server and through llama.cpp's.

All three get the same prompts, so that their answers can be compared in pairs. Writes a run folder for each, and one
report of them side by side. Called again, it goes on where it was stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import click
from real_servers import llama_cpp, transformers_serve

from longctx.config import SweepConfig
from longctx.engine.loading import read_card
from longctx.engine.sources import find_source, prepare

MODEL = SweepConfig().model
SIDES = ("in-process", "transformers", "llama-cpp")


def server(side: str, threads: int, port: int) -> AbstractContextManager[str]:
    """Base URL of a real server with the embedded model."""
    source = find_source(MODEL)
    if side == "transformers":
        return transformers_serve(source, port)
    # float32 keys and values: as in process, and faster than half-precision ones on a processor without them.
    return llama_cpp(source, read_card(prepare(source)).window, threads, port, kv="f32")


def sweep(out: Path, *options: str) -> None:
    """`longctx sweep`; raises CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-m", "longctx", "sweep", "--out", str(out), "--yes", *options], check=True)


@click.command()
@click.argument("sides", nargs=-1, type=click.Choice(SIDES))
@click.option("--threads", type=int, default=os.cpu_count(), show_default="all cores", help="Of llama.cpp's server.")
@click.option("--port", type=int, default=8127, show_default=True, help="Of a server; part of what a run is about.")
@click.option("--timeout", type=int, default=1200, show_default=True, help="Seconds for one answer of a server.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/bench-servers"), show_default=True)
def main(sides: tuple[str, ...], threads: int, port: int, timeout: int, out: Path) -> None:
    """Sweep SIDES (all of them unless named), then draw the report of those that are there."""
    for side in sides or SIDES:
        if side == "in-process":
            sweep(out / side)
            continue
        with server(side, threads, port) as url:
            sweep(
                out / side,
                *("--backend", "openai", "--base-url", url, "--api", "completions"),
                *("--concurrency", "1", "--timeout", str(timeout)),
            )
    done = [str(out / side) for side in SIDES if (out / side / "manifest.json").exists()]
    subprocess.run([sys.executable, "-m", "longctx", "report", *done, "--out", str(out)], check=True)


if __name__ == "__main__":
    main()
