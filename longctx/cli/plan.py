"""longctx plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from longctx.cli import options

if TYPE_CHECKING:
    from longctx.config import SweepConfig
    from longctx.engine.machine import Stated


@click.command("plan")
@options.model
@click.option("--lengths", help="8k..10M doubles, 8k,1M lists.  [default: 1k to the window, and one past it]")
@click.option("--gpus", type=click.IntRange(min=1), help="Of a machine that is not here, how many.  [default: 1]")
@click.option("--gpu-memory", metavar="SIZE", help="Of each of them: 80GiB.")
@click.option("--host-memory", metavar="SIZE", help="Beside them, for keys and values: 2TiB.")
@click.option("--tflops", type=float, help="What each of them reaches, in 10^12 operations a second.")
@click.option("--pcie", metavar="RATE", help="From host memory to each GPU: 50GB/s.")
@click.option("--hbm", metavar="RATE", help="Of each GPU's own memory.  [default: 3.35TB/s, or measured here]")
@click.option("--disk", metavar="SIZE", help="For keys and values, here or elsewhere: 4TB.")
@click.option("--nvme", metavar="RATE", help="Of that disk: 6GB/s.")
@options.dtype
@click.option("--questions", type=click.IntRange(min=1), default=15, show_default=True, help="Answered at a time.")
@options.chunk
@options.trust_remote_code
def command(
    gpus: int | None,
    gpu_memory: str | None,
    host_memory: str | None,
    tflops: float | None,
    pcie: str | None,
    hbm: str | None,
    disk: str | None,
    nvme: str | None,
    questions: int,
    **flags: Any,
) -> None:
    """Say what lengths take on this machine, or on one that --gpu-memory and --tflops describe. Loads no weights."""
    from longctx.config import resolve_config
    from longctx.engine.machine import Stated
    from longctx.sizes import parse_bytes, parse_rate

    sizes = (None if text is None else parse_bytes(text) for text in (gpu_memory, host_memory, disk))
    rates = (None if text is None else parse_rate(text) for text in (pcie, hbm, nvme))
    _plan(resolve_config(None, flags), Stated(gpus, tflops, *sizes, *rates), questions)


def _plan(config: SweepConfig, stated: Stated, num_questions: int) -> None:
    from longctx.engine.cost import ITEM_BYTES
    from longctx.engine.loading import choose_device, choose_dtype, read_sizes
    from longctx.engine.machine import found_machine, stated_machine
    from longctx.engine.placement import Workload, place
    from longctx.engine.sources import find_source, if_converted
    from longctx.sweep.plan import choose_chunk, default_lengths
    from longctx.terminal.plan import print_placements

    device = "cuda" if stated.is_elsewhere else choose_device("auto")
    dtype = choose_dtype(config.dtype, device)
    elsewhere = stated_machine(stated) if stated.is_elsewhere else None
    source = find_source(config.model)
    sizes = read_sizes(if_converted(source), config.trust_remote_code)
    lengths = config.lengths or default_lengths(sizes.window)
    chunk = config.chunk or choose_chunk(device, "isolated", lengths)
    work = Workload(sizes.shape, ITEM_BYTES[dtype], chunk, num_questions)
    machine = elsewhere or found_machine(stated, dtype, device)
    placements = [place(work, machine, length) for length in lengths]
    print_placements(source.name, sizes.window, work, machine, placements)
