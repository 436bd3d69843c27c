from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from longctx.documents.filler import load_filler
from longctx.documents.splice import (
    Piece,
    check_join,
    encode_after,
    encode_alone,
    encode_head,
    encode_tail,
    sentence,
)
from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import SpliceError
from longctx.haystack import get_source

TOKENIZERS = ["byte_level", "metaspace"]


@pytest.fixture(params=TOKENIZERS)
def hub(request: pytest.FixtureRequest, hub_tokenizers: dict[str, Any]) -> Any:
    return hub_tokenizers[request.param]


def test_a_needle_is_what_it_would_be_in_the_text(hub: Any) -> None:
    tokenizer = HubTokenizer(hub)
    haystack = load_filler(get_source("narrator"), 3, tokenizer, 2000)
    left, right = sentence(haystack, 4), sentence(haystack, 5)
    needle = encode_after(left, " The number is 1234.", tokenizer)
    check_join(needle, right, tokenizer)
    ids = np.concatenate([left.token_ids, needle.token_ids, right.token_ids]).tolist()
    assert hub("." + hub.decode(ids), add_special_tokens=False).input_ids[1:] == ids
    assert encode_alone(needle.text, tokenizer).token_ids.tolist() == needle.token_ids.tolist()


def test_a_join_that_merges_is_refused(tokenizer: HubTokenizer) -> None:
    left = encode_alone(" th", tokenizer)
    right = Piece("e house.", tokenizer.encode("e house.").token_ids)
    with pytest.raises(SpliceError, match="merges across"):
        check_join(left, right, tokenizer)


def test_a_head_that_merges_with_the_document_is_refused(tokenizer: HubTokenizer) -> None:
    first = Piece("e house.", tokenizer.encode("e house.").token_ids)
    assert len(encode_head("Text:", encode_alone(" The house.", tokenizer), [0], tokenizer)) > 1
    with pytest.raises(SpliceError, match="merges"):
        encode_head("Text: th", first, [], tokenizer)


def test_a_tail_takes_back_what_it_merges_with(hub: Any) -> None:
    tokenizer = HubTokenizer(hub)
    last = encode_alone(" The house was empty.", tokenizer)
    tail = encode_tail(last, "\n\nQuestion: What is it?\nAnswer:", " 1234", tokenizer)
    kept = last.token_ids[: len(last.token_ids) - tail.num_taken_back]
    ids = [*kept.tolist(), *tail.token_ids.tolist()]
    text = hub.decode(ids)
    assert text == " The house was empty.\n\nQuestion: What is it?\nAnswer:"
    assert hub("." + text, add_special_tokens=False).input_ids[1:] == ids
    assert tail.num_added == len(ids) - len(last.token_ids)
    assert hub.decode([*ids, *tail.draft_ids.tolist()]) == text + " 1234"


def test_a_completion_without_a_clean_boundary_gives_no_draft(tokenizer: HubTokenizer) -> None:
    last = encode_alone(" The house was empty.", tokenizer)
    assert len(encode_tail(last, " Then th", "ey left.", tokenizer).draft_ids) == 0
