"""The scripts about phantoms, as far as they go without hours or a GPU."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from longctx.haystack.lexicon import load_lexicon
from longctx.phantom.design import Design

SCRIPTS = Path(__file__).parents[1] / "scripts"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their types up
    spec.loader.exec_module(module)
    return module


def test_coverage_is_summed_over_all_numbers_of_right_answers() -> None:
    """Wilson's intervals of one sample are 0 to .793 and .207 to 1."""
    coverage = load("bench_coverage").binomial_coverage
    assert coverage(0.5, 1) == pytest.approx(1.0)
    assert coverage(0.9, 1) == pytest.approx(0.9)
    assert coverage(0.1, 1) == pytest.approx(0.9)
    assert coverage(0.5, 100) == pytest.approx(0.943, abs=0.001)  # of 41 to 59 right, by hand


def test_a_simulated_sweep_answers_what_the_design_answers() -> None:
    module = load("bench_coverage")
    words = tuple(load_lexicon("keys")["second"])
    assert module.sweep(Design(2**20), 0, 20).num_right == 100
    assert module.sweep(Design(2**20, muted=words), 0, 20).num_right == 0
    half = module.sweep(Design(2**20, muted=words[::2]), 0, 20)
    assert half.num_scored == 100
    assert 30 < half.num_right < 70
    found = module.measure(0.8, 10, 60)
    assert found.num_held >= 50
    assert "80.3%" in module.to_markdown([found], "command")


def test_the_gpu_sweep_has_cells_on_both_sides_of_its_window() -> None:
    case = load("gpu_phantom").make_case(10 * 2**20, "bfloat16", 2**30)
    assert case.design.edges == (5 * 2**20,)
    assert max(case.config.lengths) == 10 * 2**20 <= case.design.advertise
    cells = [(length * (1 - depth), length) for length in case.config.lengths for depth in case.config.depths]
    assert sum(distance > 5.2 * 2**20 for distance, _ in cells) >= 10
    assert sum(distance < 5.0 * 2**20 and length > 6 * 2**20 for distance, length in cells) >= 10
    assert case.device_bytes == 2**30 < 10 * 2**20 * 4 * 2 * 128 * 2
