from __future__ import annotations

import pytest

from longctx.errors import ConfigError
from longctx.sizes import parse_bytes, parse_rate


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("20GiB", 20 * 2**30), ("400GB", 400 * 10**9), ("2 tib", 2**41), ("1.5k", 1500), ("7", 7), ("8b", 8)],
)
def test_amounts_as_people_write_them(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1GB", "1e9", "20 giga", "5iB", "1,5GB"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not an amount of memory"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "rate"), [("50GB/s", 50 * 10**9), ("1.5 GiB/s", 3 * 2**29), ("6gb/S", 6 * 10**9)])
def test_rates_as_people_write_them(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["fast", "50GB", "50GB/", "/s", "50GB/m", "0GB/s", "-1GB/s", "50Gbit/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a rate"):
        parse_rate(text)
