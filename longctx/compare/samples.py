"""The two-sample test on texts: maximum mean discrepancy with a Hamming kernel, permuted within each prompt.

Gao, Liang and Guestrin 2024, Model Equality Testing (arXiv 2410.20247), in our own code: the kernel of two texts is
the share of places, out of `num_places`, at which both have the same character; texts are cut or padded to that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from longctx.compare.records import Finding

_PERMUTATIONS = 999
_PLACES = 200


def hamming_kernel(texts: Sequence[str], num_places: int = _PLACES) -> NDArray[np.float64]:
    """Kernel matrix of shape (num_texts, num_texts); what is past both texts' ends counts as the same."""
    codes = np.zeros((len(texts), num_places), dtype=np.int32)
    for row, text in enumerate(texts):
        letters = np.frombuffer(text[:num_places].encode("utf-32-le", "surrogatepass"), dtype=np.int32)
        codes[row, : len(letters)] = letters
    return np.asarray((codes[:, None, :] == codes[None, :, :]).mean(axis=2))


def squared_mmd(kernel: NDArray[np.float64], is_b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Unbiased squared MMD for each row of `is_b`, of shape (num_splits, num_texts): which texts count as B's."""
    b = is_b.astype(float)
    a = 1.0 - b
    off = kernel - np.diag(np.diag(kernel))
    num_a, num_b = a.sum(axis=1), b.sum(axis=1)
    within_a = ((a @ off) * a).sum(axis=1) / (num_a * (num_a - 1))
    within_b = ((b @ off) * b).sum(axis=1) / (num_b * (num_b - 1))
    across = ((a @ kernel) * b).sum(axis=1) / (num_a * num_b)
    return np.asarray(within_a + within_b - 2 * across)


def sample_test(
    length: int, samples_a: Sequence[Sequence[str]], samples_b: Sequence[Sequence[str]], seed: int = 0
) -> Finding:
    """Are the samples of every prompt drawn from one distribution?

    The statistic is the mean of the prompts' squared MMD; its p-value comes from permutations within prompts. The
    interval is a percentile bootstrap over prompts. Each prompt needs two samples of either side.
    """
    rng = np.random.default_rng(seed)
    observed: list[float] = []
    permuted = np.zeros(_PERMUTATIONS)
    for of_a, of_b in zip(samples_a, samples_b, strict=True):
        kernel = hamming_kernel([*of_a, *of_b])
        truth = np.array([False] * len(of_a) + [True] * len(of_b))
        shuffled = truth[np.argsort(rng.random((_PERMUTATIONS, len(truth))), axis=1)]
        values = squared_mmd(kernel, np.vstack([truth, shuffled]))
        observed.append(float(values[0]))
        permuted += values[1:]
    found = np.asarray(observed)
    p = float((1 + (permuted >= found.sum() - 1e-12).sum()) / (1 + _PERMUTATIONS))
    picks = rng.integers(0, len(found), size=(_PERMUTATIONS, len(found)))
    low, high = np.percentile(found[picks].mean(axis=1), (2.5, 97.5))
    return Finding(
        "samples (MMD, Hamming)", length, len(found), float(found.mean()), float(low), float(high), "MMD²", p
    )
