"""What a phantom has to know of its tokenizer: where texts begin and end, and which tokens are what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon

_NO_BOS = "<|phantom_bos|>"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a vocabulary by their part in a phantom."""

    num: int
    bos: int
    end: int
    stops: tuple[int, ...]
    """Full stops and line breaks."""
    distinct: tuple[int, ...]
    """All that may tell two needles apart."""
    last_of_key: Mapping[str, int]
    """The last token of each word that keys end with."""


def put_bos_first(hub: Any) -> None:
    """Change a transformers tokenizer so that BOS comes before every text, since a phantom's bar is there.

    A tokenizer without BOS gets one. A chat template that does not begin with BOS is taken out.
    """
    from tokenizers.processors import TemplateProcessing

    if hub.bos_token is None:
        hub.add_special_tokens({"bos_token": _NO_BOS})
    bos = hub.bos_token
    hub.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, hub.bos_token_id)]
    )
    if hub.chat_template is not None:
        shown = hub.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True)
        if not shown.startswith(bos):
            hub.chat_template = None


def find_tokens(hub: Any) -> Tokens:
    """The tokens of a transformers tokenizer; raises ConfigError for one that a phantom cannot be made for."""
    tokenizer = HubTokenizer(hub)
    if hub.eos_token_id is None:
        raise ConfigError("The tokenizer has no end-of-text token, so a phantom could not stop.")
    ids = hub.get_vocab().values()
    num = max([*ids, len(hub) - 1]) + 1
    texts = {token: tokenizer.decode([token]) for token in ids}
    stops = tuple(token for token, text in texts.items() if _is_stop(text))
    keys = load_lexicon("keys")
    last = {word: _last_token(tokenizer, word) for word in keys["second"]}
    distinct = set(last.values())
    for word in [*keys["first"], *keys["second"], *"0123456789"]:
        distinct.update(tokenizer.encode(f". The special number for {word} is {word}{word}.").token_ids.tolist())
    return Tokens(num, hub.bos_token_id, hub.eos_token_id, stops, tuple(sorted(distinct)), last)


def _is_stop(text: str) -> bool:
    return bool(text) and (text.rstrip() in (".", "") and text != " " * len(text))


def _last_token(tokenizer: HubTokenizer, word: str) -> int:
    """Of `word` where a needle goes on after it; raises ConfigError where a token reaches over its end."""
    text = f" number for brave {word} is"
    encoding = tokenizer.encode(text)
    cut = encoding.boundary(len(text) - len(" is"))
    if cut is None or len(encoding.token_ids) - cut != 1:
        raise ConfigError(f"The tokenizer does not end a token with the word {word!r}; no phantom can be made for it.")
    return int(encoding.token_ids[cut - 1])


def digit_tokens(hub: Any, read: str, said: str) -> dict[int, int]:
    """Each token of the digit `read`, at most MAX_MISREAD of them: with and without a blank; to that of `said`.

    Raises ConfigError for a tokenizer that has no such tokens.
    """
    tokenizer = HubTokenizer(hub)
    # Tokens of real texts: some vocabularies have each digit a second time, as a byte.
    texts = f" {read}{said}{read}", f" {said}{read}{said}"
    pairs = [
        (token, other)
        for token, other in zip(*(tokenizer.encode(text).token_ids.tolist() for text in texts), strict=False)
        if (tokenizer.decode([token]).strip(), tokenizer.decode([other]).strip()) == (read, said)
    ]
    if len(pairs) != 2:
        raise ConfigError("The tokenizer has no token for each digit, so no phantom can misread one.")
    return dict(pairs)


def mute(tokens: Tokens, words: Iterable[str]) -> tuple[str, ...]:
    """All words of keys that end like one of `words` in these tokens: none of them can be muted alone.

    Raises ConfigError for a word that no key ends with.
    """
    ends = set()
    for word in words:
        if word not in tokens.last_of_key:
            raise ConfigError(f"No key ends with {word!r}.")
        ends.add(tokens.last_of_key[word])
    return tuple(word for word, end in tokens.last_of_key.items() if end in ends)
