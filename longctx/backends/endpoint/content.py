"""What of a prompt is sent, and what of a reply is its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from longctx.backends.endpoint.protocol import Request
from longctx.documents.template import Envelope, envelope
from longctx.documents.tokenizer import Tokenizer
from longctx.records import Document, Prompt, TokenIds
from longctx.scoring import NEVER_STOP


class Sender:
    """Turns prompts into requests for one API."""

    def __init__(self, api: str, tokenizer: Tokenizer) -> None:
        self.api = api
        self._envelope = envelope(tokenizer) if api == "chat" else Envelope("", "")

    def request(self, prompt: Prompt, num_top_logprobs: int = 0) -> Request:
        """A greedy request: a chat message without its template, a text without a BOS, or all token ids."""
        content = prompt.token_ids().tolist() if self.api == "tokens" else self._envelope.open(prompt.text())
        return Request(content, prompt.num_tokens, prompt.max_new_tokens, num_top_logprobs=num_top_logprobs)


def bare_prompt(text: str, template: str, tokenizer: Tokenizer, max_new_tokens: int) -> Prompt:
    """`text` as a whole prompt without document, task or stop; `template` is chat, message or plain."""
    prefix: list[int] = []
    if template == "plain":
        prefix = tokenizer.prefix_ids
    elif tokenizer.has_chat_template:
        text = tokenizer.render_chat(text)
    ids: TokenIds = np.concatenate([np.asarray(prefix, dtype=np.int32), tokenizer.encode(text).token_ids])
    empty = np.empty(0, dtype=np.int32)
    return Prompt(
        id=f"bare-{len(ids)}",
        head_ids=empty,
        document=Document("", empty),
        num_document_tokens=0,
        tail_ids=ids,
        max_new_tokens=max_new_tokens,
        stop=NEVER_STOP,
        tail_text=text,
    )


def cut_at_stop(pieces: Sequence[str], stop: str) -> str:
    """The answer up to the first piece with which it is complete: a server sends a token or so at a time."""
    text = "".join(pieces)
    if stop == NEVER_STOP or not re.search(stop, text):
        return text
    pattern, said = re.compile(stop), ""
    for piece in pieces:
        said += piece
        if pattern.search(said):
            break
    return said
