"""Whether the chat template gives the model what it was told to say, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from longctx.check.finding import Finding

# Nothing that a template may trim, and all that it may escape by mistake.
_CONTENT = 'Marker 58213 <b> & "it\'s" {x}\n\n  \u00e9, end'


def _render(tokenizer: Any, **arguments: Any) -> Any:
    messages = [{"role": "user", "content": _CONTENT}]
    return tokenizer.apply_chat_template(messages, **arguments)


def check_template(tokenizer: Any) -> Iterator[Finding]:
    """Findings for a transformers tokenizer; one that says so where it has no chat template."""
    if not tokenizer.chat_template:
        yield Finding("chat template", "", "skipped", "", "the tokenizer has none; prompts are plain text")
        return
    text = str(_render(tokenizer, tokenize=False, add_generation_prompt=True))
    without = str(_render(tokenizer, tokenize=False, add_generation_prompt=False))
    yield _content(text)
    yield _generation_prompt(text, without)
    yield from _bos(tokenizer, text)


def _content(text: str) -> Finding:
    name, count = "template: content", text.count(_CONTENT)
    if count == 1:
        return Finding(name, "user's message", "passes", "once", "the message stands in the prompt unchanged")
    meaning = "model's template drops or alters the message" if count == 0 else "model's template repeats the message"
    return Finding(name, "user's message", "differs", f"{count} times", meaning)


def _generation_prompt(text: str, without: str) -> Finding:
    name = "template: generation prompt"
    if text == without:
        meaning = "model's template ignores add_generation_prompt: the model goes on with the user's turn"
        return Finding(name, "end", "differs", "nothing added", meaning)
    added = text.removeprefix(without)
    if added == text:
        return Finding(name, "end", "warns", "", "the template changes more than its end for add_generation_prompt")
    return Finding(name, "end", "passes", repr(added), "the assistant's turn is opened")


def _bos(tokenizer: Any, text: str) -> Iterator[Finding]:
    name, bos = "template: BOS", tokenizer.bos_token_id
    if bos is None:
        return
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    again = list(tokenizer(text, add_special_tokens=True).input_ids)
    wanted = list(tokenizer("a").input_ids)[:1] == [bos] or getattr(tokenizer, "add_bos_token", False) is True
    if ids[:2] == [bos, bos]:
        yield Finding(name, "start", "differs", "2 BOS", "model's template writes the BOS token twice")
    elif wanted and bos not in ids[:2]:
        meaning = "model's template writes no BOS token, which the tokenizer puts before plain text"
        yield Finding(name, "start", "differs", "0 BOS", meaning)
    elif again[:2] == [bos, bos]:
        meaning = (
            "template and tokenizer each add one: text that is rendered first must be encoded without (longctx does)"
        )
        yield Finding(name, "start", "warns", "2 BOS", meaning)
    else:
        yield Finding(name, "start", "passes", f"{int(ids[:1] == [bos])} BOS", "not doubled, and not missing")
