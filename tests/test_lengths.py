from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.lengths import doubling, format_length, parse_length, parse_lengths


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("4096", (4096,)),
        ("4k", (4096,)),
        ("10M", (10_485_760,)),
        ("1k,4K,8k", (1024, 4096, 8192)),
        ("8k,1k", (1024, 8192)),
        ("512..8k", (512, 1024, 2048, 4096, 8192)),
        ("1k..6k", (1024, 2048, 4096, 6144)),
        ("1k..4k,12k", (1024, 2048, 4096, 12288)),
    ],
)
def test_lengths_as_people_write_them(text: str, lengths: tuple[int, ...]) -> None:
    assert parse_lengths(text) == lengths


@pytest.mark.parametrize(
    "text", ["10Z", "", "k", "-1k", "0", "1.5k", "8k..1k", "4k..4k", "1k,,2k", "1k...2k", "\u0661k"]
)
def test_what_is_no_length_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"not a (range of )?length"):
        parse_lengths(text)


@given(st.integers(1, 2**40))
def test_format_and_parse_are_inverse(length: int) -> None:
    assert parse_length(format_length(length)) == length


@given(st.integers(1, 10**6), st.integers(2, 10**6))
def test_doubling_doubles_and_ends_at_its_end(first: int, factor: int) -> None:
    lengths = doubling(first, first * factor)
    assert lengths[0] == first
    assert lengths[-1] == first * factor
    assert all(b == 2 * a for a, b in itertools.pairwise(lengths[:-1]))
    assert lengths[-2] < lengths[-1] <= 2 * lengths[-2]
