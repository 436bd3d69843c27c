"""The curve that an adaptive sweep fits, and where it asks next."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import betabinom
from simulated_models import KINDS, draw_model

from longctx.errors import ConfigError
from longctx.statistics import RULES, Scores
from longctx.statistics.curve import CurveFamily, count_outcomes, curve_family, fit_curve
from longctx.statistics.curves import make_curves
from longctx.statistics.placement import Place, next_place

LENGTHS = (1024, 2048, 4096, 8192)
NUM = 3


@pytest.fixture(scope="module")
def family() -> CurveFamily:
    return curve_family(LENGTHS, RULES["ruler"], NUM)


def entropy(p: NDArray[np.float64]) -> float:
    return float(-(p * np.log(np.maximum(p, 1e-300))).sum())


def test_every_answer_is_as_probable_before(family: CurveFamily) -> None:
    assert family.probabilities(family.posterior({})) == pytest.approx([0.2] * 5)


def test_outcomes_are_beta_binomial() -> None:
    """One curve's chances against scipy's, through the posterior odds of two outcomes."""
    curves = make_curves(LENGTHS, RULES["ruler"])
    total = 1 / curves.correlations - 1
    p = curves.accuracies[:, 2]
    chance = betabinom.pmf(2, NUM, p * total, (1 - p) * total)
    expected = curves.prior * chance / (curves.prior * chance).sum()
    family = curve_family(LENGTHS, RULES["ruler"], NUM)
    np.testing.assert_allclose(family.posterior({(2, NUM, 2): 1}), expected, rtol=1e-5)
    partly = curve_family(LENGTHS, RULES["ruler"], NUM + 1)  # of four samples one failed
    np.testing.assert_allclose(partly.posterior({(2, NUM, 2): 1}), expected, rtol=1e-9)


def test_the_curves_are_ordered_by_what_passes() -> None:
    curves = make_curves(LENGTHS, RULES["nolima"])
    assert curves.prior.sum() == pytest.approx(1.0)
    assert (np.diff(curves.num_passing) >= 0).all()
    for row in np.random.default_rng(0).integers(len(curves.prior), size=50):
        p = curves.accuracies[row]
        passing = [x >= 0.85 * p[0] for x in p]
        assert curves.num_passing[row] == (passing.index(False) if False in passing else 4)


def test_the_gain_is_the_entropy_that_an_answer_takes_away(family: CurveFamily) -> None:
    seen = {(0, NUM, 3): 2, (2, NUM, 1): 1}
    weight, curves = family.posterior(seen), make_curves(LENGTHS, RULES["ruler"])
    for index, gain in enumerate(family.gains(weight)):
        expected = entropy(family.probabilities(weight))
        for right in range(NUM + 1):
            total = 1 / curves.correlations - 1
            p = curves.accuracies[:, index]
            chance = float(weight @ betabinom.pmf(right, NUM, p * total, (1 - p) * total))
            more = family.posterior({**seen, (index, NUM, right): seen.get((index, NUM, right), 0) + 1})
            expected -= chance * entropy(family.probabilities(more))
        assert gain == pytest.approx(expected, abs=1e-5)


def test_clear_answers_give_a_clear_length(family: CurveFamily) -> None:
    fit = family.fit({(0, NUM, 3): 20, (1, NUM, 3): 20, (2, NUM, 0): 20, (3, NUM, 0): 20})
    assert (fit.effective.low, fit.effective.value, fit.effective.high) == (2048, 2048, 2048)
    assert fit.num_scored == (60, 60, 60, 60)
    assert fit.accuracies[1] > 0.95
    assert fit.accuracies[2] < 0.1
    assert all(i.low <= a <= i.high for i, a in zip(fit.intervals, fit.accuracies, strict=True))
    assert sum(fit.probabilities) == pytest.approx(1.0)


def test_the_ends_of_the_grid_are_answers(family: CurveFamily) -> None:
    best = family.fit({(i, NUM, 3): 20 for i in range(4)}).effective
    worst = family.fit({(i, NUM, 0): 20 for i in range(4)}).effective
    assert (best.low, best.high) == (8192, 8192)
    assert (worst.low, worst.value, worst.high) == (None, None, None)


def test_a_dip_ends_the_effective_length(family: CurveFamily) -> None:
    fit = family.fit({(0, NUM, 3): 20, (1, NUM, 1): 20, (2, NUM, 3): 20, (3, NUM, 3): 20})
    assert fit.effective.high == 1024
    assert fit.accuracies[1] < 0.6 < 0.9 < fit.accuracies[3]


def test_nolimas_rule_is_relative_to_the_fitted_base() -> None:
    outcomes = {(0, NUM, 2): 40, (1, NUM, 2): 40, (2, NUM, 0): 40, (3, NUM, 0): 40}
    relative = curve_family(LENGTHS, RULES["nolima"], NUM).fit(outcomes)
    assert relative.effective.value == 2048
    assert curve_family(LENGTHS, RULES["ruler"], NUM).fit(outcomes).effective.value is None


def test_scores_are_counted_by_trial(family: CurveFamily) -> None:
    values = np.full((2, 4, NUM), np.nan)
    values[0, 0] = 1.0
    values[1, 0] = [1.0, 0.0, np.nan]
    values[1, 3] = [0.0, 0.5, 0.0]
    scores = Scores(LENGTHS, (0.0, 0.5, 1.0), values)
    outcomes = count_outcomes(scores)
    assert outcomes == {(0, 3, 3): 1, (0, 2, 1): 1, (3, 3, 0): 1}
    assert fit_curve(scores, RULES["ruler"]) == family.fit(outcomes)
    assert fit_curve(scores, RULES["ruler"]).num_scored == (5, 0, 0, 3)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot follow the rule all_depths"):
        curve_family(LENGTHS, RULES["all_depths"], NUM)
    with pytest.raises(ConfigError, match="from 2 to 16 lengths, not from 1"):
        curve_family(LENGTHS[:1], RULES["ruler"], NUM)
    with pytest.raises(ConfigError, match="not from 17"):
        curve_family(range(1000, 1017), RULES["ruler"], NUM)


COSTS = np.repeat([[1.0], [2.0], [4.0], [8.0]], 6, axis=1)
NONE = np.zeros((4, 6), dtype=bool)
OPEN = np.ones(4, dtype=bool)


def test_the_next_place_is_worth_most_for_its_cost(family: CurveFamily) -> None:
    gains = family.gains(family.posterior({}))
    place = next_place(family, {}, NONE, OPEN, COSTS, 100.0)
    assert place == Place(int(np.argmax(gains / COSTS[:, 0])), 0)
    dear = COSTS.copy()
    dear[place.length] *= 1000
    other = next_place(family, {}, NONE, OPEN, dear, 1e9)
    assert isinstance(other, Place)
    assert other.length != place.length


def test_a_trial_that_no_other_length_had_comes_first(family: CurveFamily) -> None:
    asked = NONE.copy()
    asked[3, :2] = True
    place = next_place(family, {}, asked, OPEN, COSTS, 100.0)
    assert isinstance(place, Place)
    assert place.trial == 2


def test_reasons_to_stop(family: CurveFamily) -> None:
    clear = {(0, NUM, 3): 20, (1, NUM, 3): 20, (2, NUM, 0): 20}
    assert next_place(family, clear, NONE, OPEN, COSTS, 100.0) == "decided"
    assert next_place(family, {}, NONE, OPEN, COSTS, 0.5) == "budget"
    assert next_place(family, {}, ~NONE, OPEN, COSTS, 100.0) == "exhausted"
    assert next_place(family, {}, NONE, ~OPEN, COSTS, 100.0) == "exhausted"
    only = np.array([False, False, False, True])
    assert next_place(family, {}, NONE, only, COSTS, 7.0) == "budget"
    assert next_place(family, {}, NONE, only, COSTS, 8.0) == Place(3, 0)


def reveal(asked: NDArray[np.bool_], answers: NDArray[np.float64]) -> Scores:
    """Of a whole grid's answers those that were asked for."""
    return Scores(LENGTHS, (0.0, 0.5, 1.0), np.where(asked.T[:, :, None], answers, np.nan))


def test_simulated_models_are_placed_rightly_for_a_quarter_of_the_grid(family: CurveFamily) -> None:
    """A small one of what scripts/bench-statistics measures."""
    rng, held, spent = np.random.default_rng(3), 0, []
    costs = np.repeat([[1.0], [2.2], [5.0], [12.0]], 20, axis=1)
    for number in range(24):
        model = draw_model(KINDS[number % 4], 4, NUM, rng)
        answers, asked = model.answers(20, rng), np.zeros((4, 20), dtype=bool)
        place: Place | str = ""
        while isinstance(place, Place) or not place:
            left = float(0.25 * costs.sum() - costs[asked].sum())
            place = next_place(family, count_outcomes(reveal(asked, answers)), asked, OPEN, costs, left)
            if isinstance(place, Place):
                asked[place.length, place.trial] = True
        found = family.fit(count_outcomes(reveal(asked, answers))).effective
        low, high = (0 if end is None else LENGTHS.index(end) + 1 for end in (found.low, found.high))
        held += low <= model.num_passing(RULES["ruler"]) <= high
        spent.append(costs[asked].sum() / costs.sum())
    assert held >= 22
    assert max(spent) <= 0.25
    assert np.mean(spent) < 0.2
