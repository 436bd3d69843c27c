"""Which phantoms a calibration sweeps, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from longctx.calibrate.grid import lengths_around, pair_around
from longctx.config import SweepConfig
from longctx.engine.packaged import installed_models
from longctx.errors import ConfigError
from longctx.lengths import format_length
from longctx.phantom import words
from longctx.phantom.design import CHUNKS, Design
from longctx.phantom.keys import draw_muted, twin_muted
from longctx.records import Design as SweepDesign

ADVERTISED = 10 * 2**20
_ADVERTISED_QUICK = 2**17
"""Profiles of the distance that have to hold for less far are found sooner."""
_WINDOWS = tuple(2**power for power in range(10, 23, 2))
"""1k, 4k, 16k, ... 4M."""
_SHORTEST = 2**13
_TWO_HOPS = "vt:num_hops=1"
_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LOCAL = 64
"""Tokens that a local layer sees."""
_LOCAL_CHUNK = 1024
"""Where hardly anything attends to a long text, a chunk's own overhead is what reading it takes."""
_LONG = 2**17
"""Isolated prompts longer than this many tokens take a server minutes each, since they do not all begin alike as packed
ones do: of these it is asked only what tells an edge."""


@dataclass(frozen=True, slots=True)
class Case:
    """One sweep of one phantom."""

    design: Design
    config: SweepConfig
    """All but the model."""
    tokenizer: str = words.NAME
    block_tokens: int | None = None
    """Of a block of keys and values; small ones have many borders. None: as in any sweep."""
    on_disk: bool = False
    """Whether keys and values are on disk alone."""
    device_bytes: int | None = None
    """Of keys and values on the device, the rest in host memory; None: what is free."""

    @property
    def tier(self) -> Literal["device", "host", "disk"]:
        """The lowest tier that its keys and values are to reach."""
        return "disk" if self.on_disk else "host" if self.device_bytes is not None else "device"

    @property
    def name(self) -> str:
        """A folder's name, different for every case of a calibration."""
        served = self.config.backend == "openai"
        parts = [self.design.name, self.config.design, "served" if served else self.config.dtype]
        parts += [self.tokenizer] if self.tokenizer != words.NAME else []
        parts += [self.tier] if self.tier != "device" else []
        parts += [f"depth-{100 * self.config.depths[0]:.0f}"] if len(self.config.depths) == 1 else []
        return "-".join(parts)


def _config(
    design: SweepDesign,
    lengths: tuple[int, ...],
    *,
    depths: tuple[float, ...] = _DEPTHS,
    trials: int = 1,
    dtype: str = "float32",
    task: tuple[str, ...] = ("niah_single",),
    chunk: int = 0,
    controls: bool = False,
) -> SweepConfig:
    return SweepConfig(
        task=task,
        lengths=lengths,
        depths=depths,
        trials=trials,
        design=design,
        dtype=dtype,
        chunk=chunk,
        controls=controls,
        beyond_window=False,
    )


def quick_cases() -> Iterator[Case]:
    """Every kind of phantom, at lengths that take seconds, in chunks and blocks so small that all borders are met."""
    small: dict[str, Any] = {"chunk": 128, "depths": (0.0, 0.5, 1.0)}
    window = Design(_ADVERTISED_QUICK, edges=(1024,))
    window_grid = lengths_around(window, (0.0, 0.5), 700, 2600)
    # Lengths part within a block that holds the needle: the one that goes on must have copied it.
    yield Case(window, _config("isolated", window_grid, controls=True, **small), block_tokens=1000)
    yield Case(window, _config("packed", window_grid, dtype="bfloat16", **small), block_tokens=48)
    yield Case(window, _config("packed", window_grid, **small), block_tokens=200, on_disk=True)
    unlimited = Design(_ADVERTISED_QUICK)
    both = ("niah_single", _TWO_HOPS)
    yield Case(unlimited, _config("isolated", (700, 2048), task=both, **small), block_tokens=200)
    hole = Design(_ADVERTISED_QUICK, edges=(768, 1536))
    grid = lengths_around(hole, (0.0,), 700, 3072)
    yield Case(hole, _config("packed", grid, **small), block_tokens=200)
    partial = Design(_ADVERTISED_QUICK, muted=draw_muted(0.8), local=_LOCAL)
    yield Case(partial, _config("packed", (1024, 2048), trials=4, **small))
    twin = dataclasses.replace(window, muted=twin_muted(window.muted))
    yield Case(twin, _config("packed", window_grid, **small), block_tokens=200, device_bytes=2**20)
    misread = Design(_ADVERTISED_QUICK, misread=("7", "1"))
    yield Case(misread, _config("packed", (1024, 2048), trials=4, **small))
    chunked = Design(_ADVERTISED_QUICK, chunk=CHUNKS[1])
    yield Case(chunked, _config("packed", (700, 1200, 1500, 1900, 2300, 2900), chunk=128))


def full_cases(longest: int) -> Iterator[Case]:
    """Every kind at real sizes, windows up to half of `longest` tokens; raises ConfigError for less than 8k.

    Phantoms with local layers, which are read fast, go on to where needles of every depth tell a window's edge: to a
    little over four windows.
    """
    if longest < _SHORTEST:
        raise ConfigError(
            f"A calibration goes to {format_length(_SHORTEST)} tokens or more; for less there is --quick."
        )
    for window in _WINDOWS:
        if 2 * window <= longest:
            yield from _window_cases(window, longest)
    yield from _other_cases(min(longest, 2**15))
    sibling = Design(ADVERTISED, edges=(1024,))
    lengths = lengths_around(sibling, _DEPTHS, 768, 5120)
    twin = dataclasses.replace(sibling, muted=twin_muted(sibling.muted))
    yield Case(twin, _config("packed", lengths, trials=4))
    for tokenizer in installed_models():
        yield Case(sibling, _config("packed", lengths, controls=True), tokenizer=tokenizer)


def _window_cases(window: int, longest: int) -> Iterator[Case]:
    """One window in both designs and dtypes, and in every tier; large ones there with local layers."""
    design = Design(ADVERTISED, edges=(window,))
    lengths = lengths_around(design, _DEPTHS, max(768, window // 2), min(longest, 5 * window))
    trials = max(1, min(4, 2**13 // window))
    yield Case(design, _config("packed", lengths, trials=trials))
    yield Case(design, _config("packed", lengths, trials=trials, dtype="bfloat16"))
    chunk = 0
    if window > 2**12:
        design, chunk = dataclasses.replace(design, local=_LOCAL), _LOCAL_CHUNK
        lengths = lengths_around(design, _DEPTHS, window // 2, 5 * window)
        yield Case(design, _config("packed", lengths, chunk=chunk))
    yield Case(design, _config("isolated", lengths, chunk=chunk, controls=window <= 2**12))
    yield Case(design, _config("packed", lengths, chunk=chunk), on_disk=True)
    yield Case(design, _config("packed", lengths, chunk=chunk), block_tokens=2**10, device_bytes=2**22)


def _other_cases(reach: int) -> Iterator[Case]:
    """A hole, an unlimited view, keys without an answer, a misread digit, and a chunk, up to `reach` tokens."""
    hole = Design(ADVERTISED, edges=(reach // 4, reach // 2))
    yield Case(hole, _config("packed", lengths_around(hole, _DEPTHS, reach // 8, reach)))
    yield Case(Design(ADVERTISED), _config("isolated", (2048, 8192), task=("niah_single", _TWO_HOPS)))
    yield Case(Design(ADVERTISED, muted=draw_muted(0.9)), _config("packed", (2048, 4096, 8192), trials=8))
    yield Case(Design(ADVERTISED, muted=draw_muted(0.5)), _config("packed", (2048, 4096, 8192), trials=8))
    yield Case(Design(ADVERTISED, misread=("7", "1")), _config("packed", (2048, 4096, 8192), trials=4))
    chunk = next(chunk for chunk in reversed(CHUNKS) if 4 * chunk <= reach)
    lengths = tuple(reach * part // 8 for part in range(1, 9))
    yield Case(Design(ADVERTISED, chunk=chunk), _config("packed", lengths))


def through_server(cases: Iterable[Case], base_url: str) -> list[Case]:
    """The same phantoms for the server at `base_url`, which alone decides in what precision and tier it computes.

    Cases that differ in these alone are asked once. None has local layers: with them the engine reads a long text fast,
    but a server that keeps what prompts begin with alike may not keep it.
    """
    found: dict[str, Case] = {}
    for case in cases:
        config = dataclasses.replace(
            case.config,
            backend="openai",
            api="completions",
            base_url=base_url,
            dtype="auto",
            canaries="no",
            template="plain",  # a server puts BOS before a text, where some templates have it already
            trials=1,
            chunk=0,
        )
        served = Case(dataclasses.replace(case.design, local=None), config, case.tokenizer)
        for part in _parts(served):
            found.setdefault(part.name, part)
    return list(found.values())


def _parts(case: Case) -> list[Case]:
    """The case, or one for each depth's two lengths around the edge of a long window in the isolated design."""
    config, edges = case.config, case.design.edges
    if config.design == "packed" or len(edges) != 1 or max(config.lengths) <= _LONG:
        return [case]
    asked = [
        dataclasses.replace(config, depths=(depth,), lengths=pair_around(edges[0], depth))
        for depth in config.depths
        if depth < 1.0
    ]
    return [dataclasses.replace(case, config=config) for config in asked]
