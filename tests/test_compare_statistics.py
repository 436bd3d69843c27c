"""The tests that compare two sources, against known answers and against simulated sources that are the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.backends.endpoint.protocol import TokenLogprob
from longctx.compare.distance import logprob_distance, parting
from longctx.compare.paired import excess, holm, mcnemar
from longctx.compare.records import Said
from longctx.compare.samples import hamming_kernel, sample_test, squared_mmd


def test_mcnemar_counts_what_one_side_alone_gets_right() -> None:
    """10 against 2 of 40: the exact binomial test gives 2 x P(X <= 2 | 12, 1/2) = 158 / 4096."""
    a = [True] * 20 + [True] * 10 + [False] * 2 + [False] * 8
    b = [True] * 20 + [False] * 10 + [True] * 2 + [False] * 8
    finding = mcnemar(1024, a, b)
    assert finding.p == pytest.approx(158 / 4096)
    assert finding.effect == pytest.approx(-20.0)
    # Bonett and Price: (3 - 11) / 42 -+ 1.96 sqrt((14 / 42 - (8 / 42)^2) / 42)
    assert (finding.low, finding.high) == pytest.approx((-35.53, -2.56), abs=0.01)
    assert mcnemar(1024, a, a).p == 1.0


@settings(max_examples=20)  # statsmodels collects garbage at every call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """By definition: a hypothesis' corrected p is the largest Bonferroni p of the sets that hold it."""
    numbers = range(len(p_values))
    sets = [set(s) for size in numbers for s in itertools.combinations(numbers, size + 1)]
    for index, corrected in enumerate(holm(p_values)):
        wanted = max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets if index in s)
        assert corrected == pytest.approx(wanted)


def test_excess_is_exact_where_every_flip_can_be_counted() -> None:
    """All of 10 differences positive: 1 of 1,024 flips is as extreme."""
    finding = excess("test", 1024, [0.0] * 10, [1.0 + i / 10 for i in range(10)], "nats")
    assert finding.effect == pytest.approx(1.45)
    assert finding.p == pytest.approx(1 / 1024, abs=1.5e-3)
    assert finding.low > 1.0
    assert excess("test", 1024, [0.5] * 10, [0.5] * 10, "nats").p == 1.0
    assert excess("test", 1024, [1.0] * 10, [0.0] * 10, "nats").p == 1.0  # nearer than to itself is no difference


def test_the_kernel_is_the_share_of_equal_characters() -> None:
    kernel = hamming_kernel(["abcd", "abxd", "ab"], num_places=8)
    assert kernel == pytest.approx(np.array([[8, 7, 6], [7, 8, 6], [6, 6, 8]]) / 8)


def test_mmd_against_its_definition() -> None:
    texts = ["aaaa", "aaab", "aabb", "bbbb", "bbba", "bbab", "cccc"]
    kernel = hamming_kernel(texts, num_places=4)
    is_b = np.array([[False, False, False, True, True, True, True]])
    a, b = range(3), range(3, 7)
    wanted = (
        np.mean([kernel[i, j] for i in a for j in a if i != j])
        + np.mean([kernel[i, j] for i in b for j in b if i != j])
        - 2 * np.mean([kernel[i, j] for i in a for j in b])
    )
    assert squared_mmd(kernel, is_b) == pytest.approx([wanted])


def draw(rng: np.random.Generator, favourite: str, share: float, num: int) -> list[str]:
    return [favourite if rng.random() < share else "".join(rng.choice(list("abcdef"), 12)) for _ in range(num)]


def test_samples_of_other_distributions_are_told_apart_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(1)
    prompts = [("x" * 12 if i % 2 else "y" * 12) for i in range(20)]
    a = [draw(rng, favourite, 0.5, 10) for favourite in prompts]
    same = [draw(rng, favourite, 0.5, 10) for favourite in prompts]
    other = [draw(rng, favourite, 0.2, 10) for favourite in prompts]
    assert sample_test(1024, a, same).p > 0.05
    finding = sample_test(1024, a, other)
    assert finding.p < 0.01
    assert finding.low > 0.0


def test_prompts_that_differ_are_no_difference_between_sources() -> None:
    """Each prompt has one answer of its own; permuted across prompts this would be a difference."""
    texts = [[str(i) * 8] * 4 for i in range(9)]
    assert sample_test(1024, texts, texts).p == 1.0


def said(text: str, *logprobs: float) -> Said:
    return Said("ok", text, tuple(TokenLogprob(c, p, {c: p, "?": -5.0}) for c, p in zip(text, logprobs, strict=False)))


def test_where_texts_part() -> None:
    assert parting(said("abcd"), said("abcd")) == 0.0
    assert parting(said("abcd"), said("abxxxxxx")) == 0.75
    assert parting(said("abcd"), said("ab")) == 0.5
    assert parting(said(""), said("")) == 0.0


def test_logprobs_are_compared_up_to_where_texts_part() -> None:
    a = said("abc", -1.0, -2.0, -3.0)
    assert logprob_distance(a, a) == 0.0
    assert logprob_distance(a, said("abc", -1.4, -2.0, -3.0)) == pytest.approx(0.4 / 6)
    # "x" stands where "b" did: its place still tells ("?" is on both lists), the next one no more.
    assert logprob_distance(a, said("axc", -1.0, -2.0, -9.0)) == pytest.approx(0.0)
    assert logprob_distance(said("abc"), a) is None
