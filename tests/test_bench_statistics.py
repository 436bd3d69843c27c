"""scripts/bench-statistics, on few sweeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bench_statistics import main
from click.testing import CliRunner
from simulated_models import draw_model

from longctx.statistics import RULES


def test_bench_says_what_is_covered(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--sweeps", "40", "--models", "4", "--out", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "new" / "bench-statistics.json").read_text(encoding="utf-8"))
    assert [row["n"] for row in record["cells"]] == [3, 5, 10, 20, 40]
    assert record["sweeps"][0]["sweeps"] == 40
    assert float(record["sweeps"][0]["ruler"].rstrip("%")) >= 93
    assert record["adaptive"][0]["models"] == 4
    assert float(record["adaptive"][0]["at_most"].rstrip("%")) <= 25


@pytest.mark.parametrize("kind", ["logistic", "step", "dip", "flat", "close"])
def test_simulated_answers_are_as_often_right_as_the_model_is(kind: str) -> None:
    model = draw_model(kind, 4, 3, np.random.default_rng(1))
    answers = model.answers(20_000, np.random.default_rng(2))
    np.testing.assert_allclose(answers.mean(0), model.truth, atol=0.02)
    passes = [accuracy >= 0.856 for accuracy in model.truth.mean(1)]
    assert model.num_passing(RULES["ruler"]) == (passes.index(False) if False in passes else 4)
