"""How many samples tell two things apart, and what a planned sweep cannot tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from longctx.errors import ConfigError
from longctx.statistics.rules import RULER_THRESHOLD

ASSUMED_ACCURACY = 0.9
_COARSE = 0.2
"""A drop that a sweep should be able to find."""
ASSUMED_CORRELATION = 0.1
"""Between the scores of two samples of one trial, where none was measured."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be told apart, how surely. Raises ConfigError for values that are not legal."""

    effect: float
    """Difference in accuracy: 0.1 is ten points."""
    accuracy: float = ASSUMED_ACCURACY
    """The higher of the two."""
    power: float = 0.8
    """Probability of finding the difference if it is there."""
    alpha: float = 0.05
    """Probability of finding one if there is none, both sides together."""
    discordance: float | None = None
    """Share of pairs of which one is right and one wrong; None for pairs that are independent, the costliest case."""

    def __post_init__(self) -> None:
        for name in ("effect", "accuracy", "power", "alpha"):
            if not 0.0 < getattr(self, name) < 1.0:
                if name == "accuracy" and self.accuracy == 1.0:
                    continue
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1.")
        if self.effect >= self.accuracy:
            raise ConfigError(f"effect is {self.effect}; it must be under the accuracy, {self.accuracy}.")
        if self.discordance is not None and not self.effect <= self.discordance <= 1.0:
            raise ConfigError(f"discordance is {self.discordance}; it lies between the effect, {self.effect}, and 1.")

    @property
    def discordant(self) -> float:
        """Share of discordant pairs."""
        if self.discordance is not None:
            return self.discordance
        low = self.accuracy - self.effect
        return self.accuracy * (1 - low) + low * (1 - self.accuracy)


def pairs_needed(comparison: Comparison) -> int:
    """Pairs for McNemar's test: two lengths of one sweep, or two models on the same prompts (Connor 1987)."""
    discordant, effect = comparison.discordant, comparison.effect
    alpha, beta = map(NormalDist().inv_cdf, (1 - comparison.alpha / 2, comparison.power))
    root = alpha * math.sqrt(discordant) + beta * math.sqrt(discordant - effect**2)
    return math.ceil((root / effect) ** 2)


def samples_needed(comparison: Comparison) -> int:
    """Samples on each side where they are not paired: two models on other prompts (Cohen 1988, through statsmodels)."""
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.proportion import proportion_effectsize

    size = proportion_effectsize(comparison.accuracy, comparison.accuracy - comparison.effect)
    num = NormalIndPower().solve_power(size, alpha=comparison.alpha, power=comparison.power)
    return math.ceil(float(num))


def trials_for(num_samples: int, num_depths: int, correlation: float) -> int:
    """Trials of `num_depths` samples that tell as much as so many independent ones (Kish 1965).

    `correlation` is that between the scores of a trial's samples; raises ConfigError unless from 0 to 1.
    """
    if not 0.0 <= correlation <= 1.0:
        raise ConfigError(f"correlation is {correlation}; it must lie between 0 and 1.")
    return math.ceil(num_samples * (1 + (num_depths - 1) * correlation) / num_depths)


def samples_to_show(threshold: float = RULER_THRESHOLD, confidence: float = 0.95) -> int:
    """Fewest independent samples, all right, whose interval (Clopper and Pearson) lies above the threshold."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(threshold))


def smallest_drop(num_pairs: float, accuracy: float = ASSUMED_ACCURACY, alpha: float = 0.05) -> float | None:
    """The least drop in accuracy that `pairs_needed` finds with so many pairs; None if not even one to zero."""
    for points in range(1, round(100 * accuracy)):
        if pairs_needed(Comparison(points / 100, accuracy, alpha=alpha)) <= num_pairs:
            return points / 100
    return None


@dataclass(frozen=True, slots=True)
class SweepPower:
    """What a planned sweep can tell."""

    num_samples: int
    """At each length."""
    num_trials_to_show: int
    """Trials from which a perfect score shows that a length passes RULER's threshold."""
    drop: float | None
    """The least drop between two lengths, from an accuracy of 90 %, that is found four times in five."""
    warnings: tuple[str, ...]


def sweep_power(num_trials: int, num_depths: int, num_lengths: int) -> SweepPower:
    """What so many trials of so many depths can tell, were their samples independent within a trial."""
    num = num_trials * num_depths
    to_show = trials_for(samples_to_show(), num_depths, 0.0)
    drop = smallest_drop(num)
    warnings = []
    if num_trials < to_show:
        warnings.append(
            f"n = {num} at a length: not even {num} of {num} right shows that a length passes {RULER_THRESHOLD:.1%}; "
            f"from {to_show} trials on it can."
        )
    if num_lengths > 1 and (drop is None or drop > _COARSE):
        seen = "No drop" if drop is None else f"Only a drop of {drop:.0%} or more"
        wanted = trials_for(pairs_needed(Comparison(_COARSE)), num_depths, ASSUMED_CORRELATION)
        warnings.append(
            f"{seen} from {ASSUMED_ACCURACY:.0%} between two lengths is likely to be found; one of {_COARSE:.0%} "
            f"takes about {wanted} trials."
        )
    return SweepPower(num, to_show, drop, tuple(warnings))


@dataclass(frozen=True, slots=True)
class Need:
    """What one kind of comparison takes, on each side."""

    what: str
    num_samples: int
    """Independent ones."""
    num_trials: int
    """Of several depths, whose scores are alike to the degree that was stated."""


def needed_trials(comparison: Comparison, num_depths: int, correlation: float) -> tuple[Need, ...]:
    """What tells two lengths or two models apart, and what shows that a length passes; raises ConfigError."""
    samples = {
        "two lengths of one sweep, paired": pairs_needed(comparison),
        "two models on the same prompts, paired": pairs_needed(comparison),
        "two models on other prompts": samples_needed(comparison),
        f"a perfect score shows {RULER_THRESHOLD:.1%}": samples_to_show(),
    }
    return tuple(Need(what, num, trials_for(num, num_depths, correlation)) for what, num in samples.items())
