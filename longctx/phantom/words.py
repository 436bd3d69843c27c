"""A word-level tokenizer of our own, which needs no download.

A word with the blank before it is one token, a digit and a mark are one each, and what it does not know it spells in
bytes, so that every text comes back as it was. No token reaches over a blank, a mark or a line break: texts join
without changing any token.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import cache
from typing import Any

from longctx.haystack.lexicon import load_lexicon
from longctx.haystack.narrator import narrate
from longctx.phantom.layout import MATCH_BITS

NAME = "words"
BOS, END, UNKNOWN = "<bos>", "<end>", "<unknown>"
_PIECE = r" ?[A-Za-z]+| ?[0-9]|\s| ?[^\sA-Za-z0-9]"
_MAX_WORD = 100
_NARRATED_SENTENCES = 4000
_FRAME = (
    " A special number is stated once in the text below. Read the text and remember it. Text:\n\nQuestion:"
    " What is the special number for that the text states?\nAnswer: The special number for is 0 1 2 3 4 5 6 7 8 9"
    " In the text below, statements give values to variables. Which variables hold the value, directly or through"
    " other variables? The variables that hold the value are VAR = It rains. The sun sets. Some birds sing there."
    " We walk to the water. Then we turn and go back home again."
)


def make_tokenizer() -> Any:
    """A transformers tokenizer of fewer than 2048 tokens, the same every time; it puts BOS before a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [piece.replace(" ", "Ġ") for piece in _pieces()[: 2**MATCH_BITS - len(alphabet) - 3]]
    entries = dict.fromkeys([BOS, END, UNKNOWN, *alphabet, *pieces])
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(
        models.WordPiece(
            vocabulary, unk_token=UNKNOWN, continuing_subword_prefix="", max_input_chars_per_word=_MAX_WORD
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), "isolated"),
            pre_tokenizers.Split(Regex(f".{{{_MAX_WORD // 4}}}"), "isolated"),  # in bytes a word may be longer
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=END, unk_token=UNKNOWN, clean_up_tokenization_spaces=False
    )


@cache
def _pieces() -> list[str]:
    """Pieces of text that are tokens, the more needed first: of keys and questions, then of the narrator's prose."""
    keys = load_lexicon("keys")
    said = Counter(re.findall(_PIECE, _FRAME + " " + " ".join(keys["first"] + keys["second"])))
    told: Counter[str] = Counter()
    for sentence in itertools.islice(narrate(0), _NARRATED_SENTENCES):
        told.update(re.findall(_PIECE, f" {sentence}"))
    return [piece for piece, _ in [*said.most_common(), *told.most_common()] if not piece.isspace()]
