"""Paired tests: the same probes on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longctx.compare.records import Finding

_RESAMPLES = 4999
_Z = 1.959963984540054


def mcnemar(length: int, right_a: Sequence[bool], right_b: Sequence[bool]) -> Finding:
    """Exact McNemar test on answers; the effect is B's accuracy minus A's, in points of 100.

    Interval: Bonett and Price 2012, adjusted Wald for a paired difference.
    """
    from scipy.stats import binomtest

    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    lost, won, num = int((a & ~b).sum()), int((~a & b).sum()), len(a)
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    share_won, share_lost = (won + 1) / (num + 2), (lost + 1) / (num + 2)
    middle = share_won - share_lost
    half = _Z * float(np.sqrt((share_won + share_lost - middle**2) / (num + 2)))
    effect = (won - lost) / num
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Finding("answers (McNemar)", length, num, 100 * effect, 100 * low, 100 * high, "points of accuracy", p)


def excess(test: str, length: int, floor: Sequence[float], found: Sequence[float], unit: str, seed: int = 0) -> Finding:
    """Is A further from B than from itself? One-sided sign-flip test on the mean of found - floor, probe by probe.

    Where B is A the two are exchangeable, so the test is exact. Interval: percentile bootstrap over probes.
    """
    differences = np.asarray(found, dtype=float) - np.asarray(floor, dtype=float)
    rng = np.random.default_rng(seed)
    signs = 2.0 * rng.integers(0, 2, size=(_RESAMPLES, len(differences))) - 1.0
    flipped = signs @ differences / len(differences)
    # A hair of slack: the same sum in another order may round differently.
    p = float((1 + (flipped >= differences.mean() - 1e-12).sum()) / (1 + _RESAMPLES))
    picks = rng.integers(0, len(differences), size=(_RESAMPLES, len(differences)))
    low, high = np.percentile(differences[picks].mean(axis=1), (2.5, 97.5))
    return Finding(test, length, len(differences), float(differences.mean()), float(low), float(high), unit, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values in the same order (Holm 1979): reject where they are below alpha."""
    from statsmodels.stats.multitest import multipletests  # slow to import

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []
