"""Rates are the best of several rounds, on a clock of our own."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from longctx.engine import speed
from longctx.environment import num_cores


class Clock:
    """A machine of which other work takes more in some rounds than in others."""

    def __init__(self, *seconds_each: float) -> None:
        self.now = 0.0
        self._seconds_each = itertools.cycle(seconds_each)

    def perf_counter(self) -> float:
        return self.now

    def run(self, times: int) -> None:
        self.now += times * next(self._seconds_each)


def test_a_rate_is_that_of_the_round_that_nothing_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.05, 0.02, 0.09, 0.03)
    monkeypatch.setattr(speed, "time", clock)
    assert speed._seconds_each(clock.run) == pytest.approx(0.02)


def test_a_processor_is_as_fast_as_its_cores_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, seen = torch.get_num_threads(), []

    def measure(run: object) -> float:
        seen.append(torch.get_num_threads())
        return 0.5

    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(speed, "_seconds_each", measure)
    monkeypatch.setattr(speed, "torch", SimpleNamespace(**{**vars(torch), "randn": lambda *a, **k: None}))
    assert speed.prefill_rate("float32", "cpu") == pytest.approx(num_cores() * 0.6 * 2 * 1024**3 / 0.5)
    assert (seen, torch.get_num_threads()) == ([1], threads)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(num_cores()))
    assert speed.prefill_rate("float32", "cpu") == pytest.approx(0.6 * 2 * 1024**3 / 0.5)
