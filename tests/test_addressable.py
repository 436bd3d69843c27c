"""Rows of canaries to the sentence on what was read."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from rows import make_row

from longctx.addressable import Addressable, addressable, is_finding
from longctx.records import Row


def canaries(length: int, found: str = "sme", **changes: Any) -> list[Row]:
    """Rows of one length; `found` holds the places (start, middle, end) whose code the answer says."""
    rows = []
    for depth, place in ((0.0, "s"), (0.5, "m"), (1.0, "e")):
        answer = " 4043756." if place in found else " 1111111."
        values = {"sample_id": f"{length}-{place}", "length": length, "depth": depth, "answer": answer}
        values |= {"control": "canary", "num_prompt_tokens": length - 16, "server_prompt_tokens": length - 16}
        rows.append(make_row(**values | {"score": float(place in found)} | changes))
    return rows


def failed(length: int, status: str, **changes: Any) -> list[Row]:
    return canaries(length, **{"status": status, "score": None, "near_miss": None, "error": "x"} | changes)


def judged(*groups: list[Row]) -> Addressable:
    verdict = addressable([row for group in groups for row in group])
    assert verdict is not None
    return verdict


def test_without_canaries_there_is_no_verdict() -> None:
    assert addressable([make_row()]) is None


def test_all_read_and_one_token_too_many_refused() -> None:
    verdict = judged(canaries(1024), canaries(2048), failed(2065, "too_long", server_prompt_tokens=None)[2:])
    wanted = "accepts 2,048 tokens (refuses a prompt of 2,049); reads 2,048 tokens; no cut was seen."
    assert verdict.sentence == f"Addressable: {wanted}"


def test_a_cut_that_the_server_counts() -> None:
    cut = failed(4096, "truncated", found="me", server_prompt_tokens=2048)
    verdict = judged(canaries(1024), canaries(2048), cut)
    assert (verdict.accepts, verdict.reads, verdict.cuts) == (4096, 2048, 4096)
    assert verdict.sentence.endswith("cuts the start from 4,096: counted 2,048 of 4,080.")


@pytest.mark.parametrize(("found", "lost"), [("me", "start"), ("se", "middle"), ("sm", "end"), ("m", "start and end")])
def test_a_cut_that_the_server_hides(found: str, lost: str) -> None:
    verdict = judged(canaries(1024), canaries(2048, found))
    assert (verdict.reads, verdict.cuts) == (1024, 2048)
    assert verdict.sentence.endswith(f"at 2,048 {lost} not found: cut there, or not retrieved.")


def needles(length: int, *depths: float) -> list[Row]:
    """Rows of needles that were found."""
    return [make_row(sample_id=f"{length}-{depth}-needle", length=length, depth=depth) for depth in depths]


def test_a_needle_that_was_found_shows_that_its_place_was_read() -> None:
    verdict = judged(canaries(1024), canaries(2048, "e"), needles(2048, 0.0, 0.5, 1.0))
    assert (verdict.reads, verdict.cuts) == (2048, None)
    assert verdict.reaches[1].read_back == "start (needle), middle (needle), end"
    assert verdict.reaches[0].read_back == "start, middle, end"
    one = judged(canaries(1024), canaries(2048, "e"), needles(2048, 0.0))
    assert one.sentence.endswith("at 2,048 middle not found: cut there, or not retrieved.")


@pytest.mark.parametrize(
    "changes",
    [
        {"length": 1024},
        {"depth": 0.25},
        {"answer": " 1111111."},
        {"targets": ("Yes",), "answer": " Yes"},
        {"targets": ("4043756", "4043757")},
        {"needle_position": None},
        {"status": "miscounted", "score": None, "near_miss": None, "error": "x"},
        {"control": "short"},
    ],
)
def test_other_rows_show_nothing_of_a_place(changes: dict[str, Any]) -> None:
    found = needles(2048, 0.0)
    other = dataclasses.replace(found[0], **changes)
    assert judged(canaries(1024), canaries(2048, "me"), found).reads == 2048
    assert judged(canaries(1024), canaries(2048, "me"), [other]).reads == 1024


def test_what_a_server_counts_is_stronger_than_a_needle() -> None:
    cut = failed(2048, "truncated", found="me", server_prompt_tokens=1024)
    verdict = judged(canaries(1024), cut, needles(2048, 0.0))
    assert (verdict.reads, verdict.cuts) == (1024, 2048)
    assert verdict.sentence.endswith("cuts from 2,048: counted 1,024 of 2,032.")


def test_a_failure_of_another_kind_is_neither_taken_nor_refused() -> None:
    verdict = judged(canaries(1024), failed(2048, "server_error", server_prompt_tokens=None))
    assert (verdict.accepts, verdict.reads, verdict.cuts, verdict.refuses) == (1024, 1024, None, None)
    assert judged(failed(1024, "timeout")).sentence.startswith("Addressable: accepts none of the tested lengths;")


def test_a_longer_length_that_works_does_not_mend_a_shorter_one() -> None:
    verdict = judged(canaries(1024, "me"), canaries(2048))
    assert (verdict.accepts, verdict.reads) == (2048, None)


def test_what_a_canary_found_is_not_asked_again() -> None:
    assert is_finding(failed(1024, "too_long")[0])
    assert is_finding(failed(1024, "truncated")[0])
    assert not is_finding(failed(1024, "timeout")[0])
    assert not is_finding(make_row(status="truncated", score=None, near_miss=None, error="x"))
