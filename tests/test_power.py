from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.stats import binomtest

from longctx.cli import main
from longctx.errors import ConfigError
from longctx.statistics.power import (
    Comparison,
    pairs_needed,
    samples_needed,
    samples_to_show,
    smallest_drop,
    sweep_power,
    trials_for,
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["power", *arguments])


@pytest.mark.parametrize(
    ("effect", "discordance", "pairs"),
    [(0.03, 0.1, 870), (0.05, 0.1, 312), (0.05, 0.2, 626), (0.1, 0.1, 77), (0.1, 0.2, 155), (0.2, 0.2, 38)],
)
def test_pairs_of_connors_formula(effect: float, discordance: float, pairs: int) -> None:
    assert pairs_needed(Comparison(effect, 0.7, discordance=discordance)) in (pairs - 1, pairs, pairs + 1)


@pytest.mark.parametrize(("effect", "num"), [(0.03, 3760), (0.05, 1374), (0.1, 353), (0.2, 90)])
def test_unpaired_samples_of_the_normal_formula(effect: float, num: int) -> None:
    assert samples_needed(Comparison(effect, 0.7)) == pytest.approx(num, rel=0.04)


def test_so_many_pairs_find_the_difference_as_often_as_asked() -> None:
    """McNemar's test on simulated independent pairs."""
    comparison = Comparison(0.1, 0.9)
    num, rng, found = pairs_needed(comparison), np.random.default_rng(0), 0
    for _ in range(400):
        first, second = rng.random(num) < 0.9, rng.random(num) < 0.8
        gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
        found += binomtest(gained, gained + lost).pvalue < 0.05
    assert 0.72 <= found / 400 <= 0.86  # exact tests reject a little less


def test_independent_pairs_are_the_default() -> None:
    assert Comparison(0.1, 0.9).discordant == pytest.approx(0.9 * 0.2 + 0.8 * 0.1)
    assert Comparison(0.1, 0.9, discordance=0.12).discordant == 0.12


def test_trials_grow_with_what_their_samples_share() -> None:
    assert trials_for(100, 5, 0.0) == 20
    assert trials_for(100, 5, 1.0) == 100
    assert trials_for(100, 5, 0.1) == 28
    with pytest.raises(ConfigError, match="correlation is 2"):
        trials_for(100, 5, 2.0)


def test_a_perfect_score_shows_the_threshold_from_24_samples_on() -> None:
    num = samples_to_show(0.856)
    assert num == 24
    assert binomtest(num, num).proportion_ci(0.95, "exact").low > 0.856
    assert binomtest(num - 1, num - 1).proportion_ci(0.95, "exact").low <= 0.856


def test_the_smallest_drop_is_one_that_so_many_pairs_find() -> None:
    drop = smallest_drop(100)
    assert drop is not None
    assert pairs_needed(Comparison(drop)) <= 100 < pairs_needed(Comparison(drop - 0.01))
    assert smallest_drop(2) is None


def test_a_sweep_that_cannot_answer_says_so() -> None:
    default = sweep_power(3, 5, 5)
    assert default.num_samples == 15
    assert "not even 15 of 15 right shows that a length passes 85.6%; from 5 trials on it can" in default.warnings[0]
    assert "Only a drop of 52% or more from 90%" in default.warnings[1]
    assert "takes about 19 trials" in default.warnings[1]
    assert sweep_power(20, 5, 8).warnings == ()
    assert len(sweep_power(3, 5, 1).warnings) == 1  # a single length has nothing to compare
    assert "No drop from 90%" in sweep_power(1, 1, 2).warnings[1]


def test_the_command_prints_samples_and_trials() -> None:
    result = run("--effect", "0.05", "--accuracy", "0.7", "--discordance", "0.1")
    assert result.exit_code == 0, result.output
    assert "To tell 70% from 65% right, with power 80% at 5%" in result.output
    lines = {line[:30].strip(): line.split()[-2:] for line in result.output.splitlines()}
    assert lines["two lengths of one sweep, pair"] == ["312", "88"]
    assert lines["two models on other prompts"][0] == "1,376"
    assert "correlated by 0.1" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--effect", "0"], "effect is 0.0; it must lie between 0 and 1"),
        (["--effect", "0.95"], "it must be under the accuracy, 0.9"),
        (["--power", "1"], "power is 1.0"),
        (["--alpha", "-1"], "alpha is -1.0"),
        (["--accuracy", "1.5"], "accuracy is 1.5"),
        (["--discordance", "0.05"], "it lies between the effect, 0.1, and 1"),
        (["--correlation", "nan"], "correlation is nan"),
        (["--depths", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_input_ends_with_a_message(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output
