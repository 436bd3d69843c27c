"""What lengths take on a machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from longctx.lengths import format_length
from longctx.terminal.format import format_bytes, format_flops, format_short, new_console

if TYPE_CHECKING:
    from longctx.engine.placement import Machine, Placement, Workload

_WIDEST = 200


def print_placements(name: str, window: int, work: Workload, machine: Machine, placements: Sequence[Placement]) -> None:
    """Print what each length takes on a machine, and what that assumes. `window` is the advertised one, in tokens."""
    console = new_console()
    console.print(
        f"[bold]{escape(name)}[/], {window:,} tokens advertised; weights {format_bytes(work.weight_bytes)}, "
        f"{work.itemsize} bytes a number"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("length", "KV device", "host", "disk", "FLOP", "prefill", "decode", "fits"):
        table.add_column(heading, justify="left" if heading == "fits" else "right", no_wrap=True)
    for p in placements:
        tiers = (format_bytes(n) if n else "–" for n in (p.spread.device, p.spread.host, p.spread.disk))
        times = (format_short(s) if p.fits else "–" for s in (p.prefill_seconds, p.decode_seconds))
        mark = "*" if p.num_tokens > window else " "
        fits = "yes" if p.fits else f"no: {_missing(p, machine)}"
        table.add_row(format_length(p.num_tokens) + mark, *tiers, format_flops(p.flops), *times, fits)
    # As wide as it is: numbers are not cut off where the terminal ends.
    table.width = console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum
    console.print(table)
    if any(p.num_tokens > window for p in placements):
        console.print("* past the advertised window", style="dim")
    rates = [f"{format_flops(machine.flops_rate)}FLOP/s", f"{machine.device_rate / 1e9:,.1f} GB/s of device memory"]
    for rate, tier in ((machine.host_rate, "from host memory"), (machine.disk_rate, "of disk")):
        rates += [f"{rate / 1e9:,.1f} GB/s {tier}"] if rate < math.inf else []
    console.print(
        f"{escape(machine.name)}, rates {machine.source}: {', '.join(rates)}. Chunks of {work.chunk:,} tokens, "
        f"decode: a step of {work.num_questions} questions together. All devices are busy, copies go beside the compute"
        + (", and the disk holds a copy of everything." if machine.disk_bytes else "."),
        style="dim",
    )


def _missing(placement: Placement, machine: Machine) -> str:
    kinds = {
        "device memory for the weights": placement.missing_weight_bytes,
        "disk" if machine.disk_bytes else "memory for KV": placement.missing_kv_bytes,
    }
    return ", ".join(f"{format_bytes(missing)} more {kind}" for kind, missing in kinds.items() if missing)
