"""Profiles of the distance: sums of cosines that are positive where a phantom sees and negative where it does not.

RoPE gives a score of two constant features the form sum a_i cos(w_i D + p_i) of the distance D, with the frequencies
w_i = 2**-i of phantoms. Amplitudes and phases come from linear programming: bounds at sampled distances, the smallest
largest value, and cutting planes: distances that come out wrong are added until none do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ConfigError
from longctx.phantom.design import edge_slack

Floats = NDArray[np.float64]

UNIT = 3.0
"""Least size of a profile away from its edges, in nats."""
_SLOWEST = 25
# The fastest wave has at least this many radians at the nearest edge: its period is a fifth of the distance, or less.
_SHARPNESS = 32.0
_ROUNDS = 20
_SAMPLES, _DENSE = 120, 2000
# Far away waves meet in every way, in peaks as narrow as the fastest wave: steps of so many of its radians find them.
_STEP = 0.5
_TOLERANCE = 0.25
_SMOOTHING = 0.05


class Wave(NamedTuple):
    """amplitude * cos(2**-pair * distance + phase), in nats."""

    pair: int
    amplitude: float
    phase: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A sum of waves; positive where a phantom sees."""

    waves: tuple[Wave, ...]
    peak: float
    """The largest value at any distance that it sees, in nats."""


class _Band(NamedTuple):
    low: float
    high: float
    sign: int


def evaluate(waves: Sequence[Wave], distances: Floats) -> Floats:
    """The sum of the waves at `distances` in tokens, in nats."""
    total = np.zeros_like(distances)
    for wave in waves:
        total += wave.amplitude * np.cos(distances * 2.0**-wave.pair + wave.phase)
    return total


@cache
def solve(edges: tuple[int, ...], longest: int) -> Profile:
    """The profile that sees up to the first edge, not from there to the second, and so on, to the distance `longest`.

    It has about UNIT nats or more everywhere but within `edge_slack` of an edge. Raises ConfigError where the
    frequencies cannot make it.
    """
    slack = edge_slack(len(edges))
    starts = [1.0, *(edge * (1 + slack) for edge in edges)]
    stops = [*(edge * (1 - slack) for edge in edges), max(float(longest), 2.0 * edges[-1])]
    bands = [_Band(low, high, (-1) ** i) for i, (low, high) in enumerate(zip(starts, stops, strict=True))]
    fastest = max(0, math.floor(math.log2(edges[0] / _SHARPNESS)))
    pairs = np.arange(fastest, _SLOWEST + 1)
    points = [_spread(band, _SAMPLES) for band in bands]
    steps = [np.arange(band.low, band.high, _STEP * 2**fastest) for band in bands]
    dense = [np.union1d(_spread(band, _DENSE), step) for band, step in zip(bands, steps, strict=True)]
    for _ in range(_ROUNDS):
        waves = _fit(pairs, bands, points)
        if waves is None:
            break
        values = [evaluate(waves, distances) / UNIT for distances in dense]
        short = [1.0 - band.sign * value for band, value in zip(bands, values, strict=True)]
        if max(float(lack.max()) for lack in short) < _TOLERANCE:
            seen = [float(value.max()) for band, value in zip(bands, values, strict=True) if band.sign > 0]
            return Profile(waves, UNIT * max(seen))
        for i, lack in enumerate(short):
            points[i] = np.union1d(points[i], dense[i][_worst(lack)])
    raise ConfigError(f"No profile of the distance was found with the edges {tuple(edges)}.")


def _spread(band: _Band, count: int) -> Floats:
    """Distances in a band, dense at both of its ends."""
    near = np.geomspace(1.0, max(2.0, band.high - band.low), count)
    parts = (np.linspace(band.low, band.high, count), band.low + near, band.high - near)
    return np.unique(np.concatenate([*parts, np.geomspace(band.low, band.high, count)]).clip(band.low, band.high))


def _worst(lack: Floats, most: int = 200) -> NDArray[np.int64]:
    """Where a local maximum of what is missing to the bound is too large."""
    padded = np.pad(lack, 1, constant_values=-np.inf)
    peaks = np.flatnonzero((lack > _TOLERANCE / 4) & (lack >= padded[:-2]) & (lack >= padded[2:]))
    return peaks[np.argsort(-lack[peaks])[:most]]


def _fit(pairs: NDArray[Any], bands: Sequence[_Band], points: Sequence[Floats]) -> tuple[Wave, ...] | None:
    """The waves with the smallest largest value in sight that keep the bounds at `points`; None if none do.

    Variables: a cosine's and a sine's amplitude for each pair, the largest value, and the sizes of the amplitudes,
    whose sum is kept small beside it.
    """
    from scipy.optimize import linprog

    num = 2 * len(pairs)
    rows: list[Floats] = []
    bounds: list[Floats] = []
    for band, distances in zip(bands, points, strict=True):
        angles = np.outer(distances, 2.0**-pairs)
        basis = np.hstack([np.cos(angles), np.sin(angles)])
        one, none = np.ones((len(distances), 1)), np.zeros_like(basis)
        rows.append(np.hstack([-band.sign * basis, 0 * one, none]))
        bounds.append(np.full(len(distances), -1.0))
        if band.sign > 0:
            rows.append(np.hstack([basis, -one, none]))
            bounds.append(np.zeros(len(distances)))
    same, column = np.eye(num), np.zeros((num, 1))
    rows += [np.hstack([sign * same, column, -same]) for sign in (1, -1)]
    bounds += [np.zeros(num)] * 2
    goal = np.concatenate([np.zeros(num), [1.0], np.full(num, _SMOOTHING)])
    limits = [(None, None)] * num + [(0, None)] * (num + 1)
    found = linprog(goal, A_ub=np.vstack(rows), b_ub=np.concatenate(bounds), bounds=limits, method="highs")
    if found.status != 0:
        return None
    cosines, sines = np.split(UNIT * found.x[:num], 2)
    return tuple(
        Wave(int(pair), math.hypot(a, b), math.atan2(-b, a)) for pair, a, b in zip(pairs, cosines, sines, strict=True)
    )
