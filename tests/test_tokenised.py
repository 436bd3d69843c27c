"""Sources as tokens on disk."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from longctx.documents.filler import load_filler
from longctx.documents.splice import sentence
from longctx.documents.tokenised import count_repeated, read_tokens, said_before, write_tokens
from longctx.documents.tokenizer import Encoding, HubTokenizer
from longctx.errors import BudgetError, SpliceError, StoreError
from longctx.haystack import Source, get_source
from longctx.haystack.narrator import narrate


@pytest.fixture(params=["byte_level", "metaspace"])
def hub(request: pytest.FixtureRequest, hub_tokenizers: dict[str, Any]) -> Any:
    return hub_tokenizers[request.param]


def test_a_source_is_tokenised_as_one_text(hub: Any, tmp_path: Path) -> None:
    write_tokens(tmp_path / "a", "x", narrate(3), HubTokenizer(hub), 20_000)
    haystack = read_tokens(tmp_path / "a", "x")
    assert 20_000 <= len(haystack.token_ids) < 20_000 + 64 * 80
    text = "." + haystack.text.tobytes().decode()
    assert hub(text, add_special_tokens=False).input_ids[1:] == haystack.token_ids.tolist()
    assert text[1:] == "".join(f" {sentence}" for sentence in itertools.islice(narrate(3), haystack.num_sentences))
    assert haystack.starts[-1] == len(haystack.token_ids)
    assert haystack.text_starts[-1] == len(haystack.text)
    for index in (0, 1, 7, 64, haystack.num_sentences - 1):
        piece = sentence(haystack, index)
        assert piece.text.startswith(" ")
        assert hub.decode(piece.token_ids) == piece.text


def test_a_source_that_runs_dry_is_an_error_not_a_repetition(tokenizer: HubTokenizer, tmp_path: Path) -> None:
    few = itertools.islice(narrate(0), 10)
    with pytest.raises(BudgetError, match=r"'few' has \d+ unique tokens; 5,000 are needed"):
        write_tokens(tmp_path / "a", "few", few, tokenizer, 5000)
    assert list(tmp_path.iterdir()) == []


class Merging:
    """Every character is a token, but ` B` after a full stop goes with it."""

    special_texts: tuple[str, ...] = ()

    def encode(self, text: str) -> Encoding:
        starts, position = [], 0
        while position < len(text):
            starts.append(position)
            position += 3 if text.startswith(". B", position) else 1
        ends = [*starts[1:], len(text)]
        return Encoding(np.arange(len(starts), dtype=np.int32), np.array(starts), np.array(ends))

    def encode_batch(self, texts: list[str]) -> list[Encoding]:
        return [self.encode(text) for text in texts]


def test_sentences_that_a_token_joins_stay_together(tmp_path: Path) -> None:
    merging: Any = Merging()
    write_tokens(tmp_path / "a", "x", iter(["Aa.", "Bb.", "Cc."]), merging, 8)
    haystack = read_tokens(tmp_path / "a", "x")
    assert [haystack.sentence_text(i) for i in range(haystack.num_sentences)] == [" Aa. Bb.", " Cc."]
    assert np.fromfile(tmp_path / "a" / "num_passages", dtype=np.int64).tolist() == [2, 3]


def test_a_tokenizer_that_merges_everywhere_is_refused(tmp_path: Path) -> None:
    merging: Any = Merging()
    with pytest.raises(SpliceError, match="merges across"):
        write_tokens(tmp_path / "a", "x", iter(["Bb."] * 200), merging, 400)


def test_text_that_is_a_special_token_is_refused(tokenizer: HubTokenizer, tmp_path: Path) -> None:
    with pytest.raises(SpliceError, match=r"holds '<end>', which .* a special token: 'It said <end> there.'"):
        write_tokens(tmp_path / "a", "x", iter(["All is well.", "It said <end> there."]), tokenizer, None)
    assert list(tmp_path.iterdir()) == []


def corpus(sentences: list[str]) -> Source:
    return Source("corpus", "1", lambda seed: iter(sentences), seeded=False)


def test_a_corpus_is_tokenised_once_and_read_from_another_place_for_every_seed(tokenizer: HubTokenizer) -> None:
    sentences = list(itertools.islice(narrate(1), 300))
    reads: list[int] = []

    def read(seed: int) -> Iterator[str]:
        reads.append(seed)
        return iter(sentences)

    source = Source("read once", "1", read, seeded=False)
    texts = []
    for seed in range(6):
        found = load_filler(source, seed, tokenizer, 3000)
        assert len(found.token_ids) >= 3000
        texts.append([found.sentence_text(i)[1:] for i in range(found.num_sentences)])
        first = sentences.index(texts[-1][0])
        assert texts[-1] == [*sentences[first:], *sentences[:first]][: len(texts[-1])]
        assert np.array_equal(found.token_ids[found.starts[3] : found.starts[4]], sentence(found, 3).token_ids)
    assert len(reads) == 1
    assert len({text[0] for text in texts}) > 3


def test_a_corpus_repeats_itself_only_if_it_may_and_says_so(tokenizer: HubTokenizer) -> None:
    short = corpus(list(itertools.islice(narrate(1), 40)))
    with pytest.raises(BudgetError, match="--allow-repeats"):
        load_filler(short, 0, tokenizer, 5000)
    found = load_filler(short, 0, tokenizer, 5000, allow_repeats=True)
    assert len(found.token_ids) >= 5000
    assert found.repeated[-1] / len(found.token_ids) > 0.5
    whole = "." + found.text.tobytes().decode()
    assert tokenizer.encode(whole).token_ids.tolist()[1:] == found.token_ids.tolist()


def test_what_is_stored_once_is_read_and_grows_without_changing(tokenizer: HubTokenizer) -> None:
    seeds: list[int] = []

    def sentences(seed: int) -> Iterator[str]:
        seeds.append(seed)
        return narrate(seed)

    source = Source("counted", "1", sentences)
    first = load_filler(source, 5, tokenizer, 1000)
    again = load_filler(source, 5, tokenizer, 60_000)
    assert seeds == [5]
    more = load_filler(source, 5, tokenizer, 70_000)
    assert seeds == [5, 5]
    assert np.array_equal(again.token_ids, first.token_ids)
    assert np.array_equal(more.token_ids[: len(first.token_ids) - 100], first.token_ids[:-100])
    other = load_filler(Source("counted", "2", sentences), 5, tokenizer, 1000)
    assert len(seeds) == 3
    assert np.array_equal(other.token_ids, first.token_ids)


def test_two_that_write_at_once_both_read(tokenizer: HubTokenizer) -> None:
    source = Source("raced", "1", narrate)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(load_filler(source, 1, tokenizer, 1000).token_ids)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]


def test_a_cache_that_cannot_be_written_is_named(
    tokenizer: HubTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="Cannot keep the tokenised haystack"):
        load_filler(get_source("narrator"), 0, tokenizer, 1000)


@given(st.lists(st.integers(0, 2), max_size=60), st.data())
def test_repeated_8_grams_are_those_that_came_before(ids: list[int], data: st.DataObject) -> None:
    starts = sorted({0, len(ids), *data.draw(st.lists(st.integers(0, len(ids)), max_size=5))})
    before = said_before(np.array(ids, dtype=np.int32))
    _assert_counted(count_repeated(before, np.array(starts)), ids, starts)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(0, 100), st.data())
def test_a_text_that_starts_again_is_counted_as_it_is_then(ids: list[int], length: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(ids) - 1))
    order = [(first + i) % len(ids) for i in range(length)]
    starts = sorted({0, length, *data.draw(st.lists(st.integers(0, length), max_size=5))})
    before = said_before(np.array(ids, dtype=np.int32))[order]
    _assert_counted(count_repeated(before, np.array(starts)), [ids[i] for i in order], starts)


def _assert_counted(found: NDArray[np.int64], ids: list[int], starts: list[int]) -> None:
    for start, count in zip(starts, found.tolist(), strict=True):
        grams = [tuple(ids[i : i + 8]) for i in range(start - 7)]
        assert count == len(grams) - len(set(grams))
