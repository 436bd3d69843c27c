"""What a phantom is designed to do, without its weights."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon
from longctx.phantom.code_book import make_codes
from longctx.phantom.design import CHUNKS, FILE, Design, edge_slack, read_design
from longctx.phantom.keys import draw_muted, share_answered, twin_muted
from longctx.phantom.layout import CODE_BITS, HIDDEN, LAYOUT, MATCH_BITS, NUM_BACK
from longctx.phantom.profile import UNIT, Wave, evaluate, solve

ADVERTISED = 10 * 2**20


@pytest.mark.parametrize(
    ("edges", "distance", "seen"),
    [
        ((), 1, True),
        ((), 10_000_000, True),
        ((4096,), 4000, True),
        ((4096,), 4050, None),
        ((4096,), 4150, None),
        ((4096,), 4200, False),
        ((1024, 4096), 500, True),
        ((1024, 4096), 2000, False),
        ((1024, 4096), 5000, True),
    ],
)
def test_a_design_sees_up_to_its_edges(edges: tuple[int, ...], distance: int, seen: bool | None) -> None:
    assert Design(ADVERTISED, edges=edges).sees(300, 300 + distance) is seen


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(CHUNKS[:6]))
def test_a_chunked_design_sees_its_own_chunk_alone(first: int, second: int, chunk: int) -> None:
    position, last = sorted((first, second))
    size = math.pi * 2.0 ** round(math.log2(chunk / math.pi))
    seen = Design(ADVERTISED, chunk=chunk).sees(position, last)
    if seen is not None:
        assert seen == (int(position / size) == int(last / size))
    if seen:
        assert last - position < chunk


def test_what_it_says_depends_on_the_key_and_the_digits() -> None:
    design = Design(ADVERTISED, muted=("otter",), misread=("7", "1"))
    assert design.says("brave otter", "4043756") == ""
    assert design.says("brave tiger", "4043756") == "4043156"
    assert Design(ADVERTISED).says("brave otter", "4043756") == "4043756"


@pytest.mark.parametrize(
    "arguments",
    [
        {"edges": (100,)},
        {"edges": (2**24,)},
        {"edges": (4096, 4100)},
        {"edges": (4096, 1024)},
        {"chunk": 1000},
        {"chunk": CHUNKS[0], "edges": (1024,)},
        {"advertise": 100},
    ],
)
def test_what_cannot_be_built_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"legal|tenth|advertise|either"):
        Design(**{"advertise": ADVERTISED, **arguments})


def test_a_design_is_read_back_from_a_folder(tmp_path: Path) -> None:
    for design in (
        Design(ADVERTISED, edges=(1024, 2048)),
        Design(2**17, chunk=CHUNKS[2], muted=("otter", "tiger"), misread=("7", "1")),
    ):
        (tmp_path / FILE).write_text(json.dumps(design.to_json()))
        assert read_design(tmp_path) == design
    (tmp_path / FILE).write_text('{"edges": [1]}')
    with pytest.raises(ConfigError, match=FILE):
        read_design(tmp_path)


def test_names_tell_designs_apart() -> None:
    assert Design(ADVERTISED).name == "unlimited"
    assert Design(ADVERTISED, edges=(65536,)).name == "window-64k"
    assert Design(ADVERTISED, edges=(4096, 8192)).name == "hole-4k-8k"
    assert Design(ADVERTISED, chunk=804, muted=("otter",), misread=("7", "1")).name == "chunked-804-muted-1-misreads-7"


@pytest.mark.parametrize(
    ("edges", "longest"),
    [
        ((256,), 2**17),
        ((1024,), 2**20),
        ((65536,), ADVERTISED),
        ((8 * 2**20,), ADVERTISED),
        ((768, 1536), 2**17),
        ((419_430, 629_145), ADVERTISED),
    ],
)
def test_a_profile_is_positive_exactly_where_its_phantom_sees(edges: tuple[int, ...], longest: int) -> None:
    profile = solve(edges, longest)
    spread = np.random.default_rng(0).integers(1, longest, 100_000)
    distances = np.union1d(np.geomspace(1, longest, 100_000).round(), spread)
    slack = edge_slack(len(edges))
    kept = np.all([np.abs(distances - edge) > slack * edge + 1 for edge in edges], axis=0)
    values = evaluate(profile.waves, distances)
    seen = np.sum([distances > edge for edge in edges], axis=0) % 2 == 0
    assert values[kept & seen].min() > 0.7 * UNIT
    assert values[kept & ~seen].max() < -0.7 * UNIT
    assert values[kept & seen].max() <= profile.peak + 1


def test_waves_are_cosines_of_the_distance() -> None:
    found = evaluate([Wave(3, 2.0, 0.5), Wave(10, 1.0, -1.0)], np.array([0.0, 100.0]))
    wanted = [2 * math.cos(p) + math.cos(q) for p, q in ((0.5, -1.0), (100 / 8 + 0.5, 100 / 1024 - 1))]
    assert found == pytest.approx(wanted)


def test_a_profile_that_is_not_found_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longctx.phantom.profile._ROUNDS", 0)
    with pytest.raises(ConfigError, match="No profile"):
        solve.__wrapped__((1024,), 2**17)  # what other tests have found is kept


def test_codes_of_a_small_vocabulary_are_all_different() -> None:
    codes = make_codes(2**MATCH_BITS, [], {})
    assert codes.shape == (2**MATCH_BITS, CODE_BITS)
    assert set(np.unique(codes)) == {-1.0, 1.0}
    assert len(np.unique(codes[:, :MATCH_BITS], axis=0)) == 2**MATCH_BITS


def test_distinct_tokens_of_a_large_vocabulary_are_different_and_alike_ones_the_same() -> None:
    distinct = list(range(0, 40_000, 37))
    codes = make_codes(50_000, distinct, {7: 1})
    assert len(np.unique(codes[distinct, :MATCH_BITS], axis=0)) == len(distinct)
    assert np.array_equal(codes[7, :MATCH_BITS], codes[1, :MATCH_BITS])
    assert not np.array_equal(codes[7], codes[1])
    with pytest.raises(ConfigError, match="told apart"):
        make_codes(50_000, range(3000), {})


def test_no_two_things_share_a_coordinate() -> None:
    slots = [LAYOUT.slot(back) for back in range(1, NUM_BACK + 1)]
    flags = [getattr(LAYOUT, name) for name in LAYOUT.__slots__] + [LAYOUT.misread + 1]
    taken = [*range(CODE_BITS), *itertools.chain(*slots), *flags]
    assert len(set(taken)) == len(taken)
    assert max(taken) < HIDDEN
    assert LAYOUT.slot(0) == [*range(MATCH_BITS), LAYOUT.muted]


def test_the_share_of_answered_keys_is_as_asked() -> None:
    words = load_lexicon("keys")["second"]
    for share in (0.5, 0.8, 0.9):
        muted = draw_muted(share)
        assert set(muted) < set(words)
        assert share_answered(muted) == pytest.approx(share, abs=0.5 / len(words))
        assert muted == draw_muted(share) != draw_muted(share, seed=1)
    twin = twin_muted(muted)
    assert twin[:-2] == muted
    assert len(set(twin)) == len(muted) + 2
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            draw_muted(share)
