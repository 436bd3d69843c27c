"""The frame around documents: head, tail, room for the completion, and the identity of what is built."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import numpy as np

from longctx.documents.splice import Piece, Tail, encode_head, encode_tail
from longctx.documents.template import Template
from longctx.documents.tokenizer import Tokenizer
from longctx.records import (
    Asked,
    Bytes,
    Cell,
    Control,
    Design,
    Document,
    Haystack,
    Prompt,
    Question,
    Sample,
    TokenIds,
)


@dataclass(frozen=True, slots=True)
class Reach:
    """How much of a document a prompt reads, and where in it stands what the answer needs."""

    num_tokens: int
    num_text_bytes: int
    last: Piece
    """The sentence that the prompt's part of the document ends with."""
    support: tuple[slice, ...]
    """Tokens of the document."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All that the prompts of one task share. The same frame and cell always give the same sample."""

    task: str
    """The task's name with its options."""
    design: Design
    seed: int
    tokenizer: Tokenizer
    template: Template
    max_new_tokens: int
    stop: str

    def rng(self, *address: object) -> random.Random:
        """Randomness for one address, such as a trial and a depth, and for nothing else."""
        text = repr((self.task, self.seed, *address))
        return random.Random(hashlib.sha256(text.encode()).digest())

    def head(self, first: Piece) -> TokenIds:
        text = self.template.head_text(self.tokenizer)
        return encode_head(text, first, self.template.head_prefix_ids(self.tokenizer), self.tokenizer)

    def tail(self, last: Piece, asked: Asked) -> Tail:
        text = self.template.tail_text(asked, self.tokenizer)
        return encode_tail(last, text, f" {asked.targets[0]}", self.tokenizer)

    def sample(
        self,
        cell: Cell,
        asked: Asked,
        head_ids: TokenIds,
        document: Document,
        reach: Reach,
        *,
        max_new_tokens: int | None = None,
        control: Control | None = None,
    ) -> Sample:
        """The sample that asks after the document's first tokens.

        Its id is a hash of everything that the model will see and of what would be right.
        """
        tail = self.tail(reach.last, asked)
        room = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        digest = hashlib.sha256()
        identity = (self.task, self.design, self.seed, cell, control, asked.targets, room, self.stop)
        for part in (repr(identity), self.tokenizer.fingerprint, document.id, str(reach.num_tokens)):
            digest.update(part.encode() + b"\0")
        digest.update(head_ids.tobytes() + b"\0" + tail.token_ids.tobytes())
        prompt = Prompt(
            id=digest.hexdigest()[:16],
            head_ids=head_ids,
            document=document,
            num_document_tokens=reach.num_tokens - tail.num_taken_back,
            tail_ids=tail.token_ids,
            max_new_tokens=room,
            stop=self.stop,
            head_text=self.template.head_text(self.tokenizer),
            num_text_bytes=reach.num_text_bytes,
            tail_text=self.template.tail_text(asked, self.tokenizer),
        )
        first = reach.support[0] if reach.support else slice(0, 0)
        others = reach.num_tokens - (first.stop - first.start)
        return Sample(
            cell=cell,
            prompt=prompt,
            targets=asked.targets,
            draft_ids=tail.draft_ids[:room],
            support_positions=tuple(len(head_ids) + place.start for place in reach.support),
            needle_depth=first.start / max(1, others),
            question=Question(asked.kind, asked.hops, asked.candidates),
            control=control,
        )


def make_document(token_ids: list[TokenIds], parts: list[Bytes], repeated_share: float) -> Document:
    """A document of these pieces; its id is a hash of its tokens."""
    joined = np.concatenate(token_ids) if token_ids else np.empty(0, dtype=np.int32)
    return Document(hashlib.blake2b(joined.data, digest_size=8).hexdigest(), joined, tuple(parts), repeated_share)


def repeated_share(haystack: Haystack, num_sentences: int) -> float:
    """Share of the first sentences' 8-grams of tokens that are not first occurrences."""
    return float(haystack.repeated[num_sentences]) / max(1, int(haystack.starts[num_sentences]))


def text_between(haystack: Haystack, first: int, last: int) -> Bytes:
    """The text of the sentences from `first` up to `last`, not copied."""
    return haystack.text[haystack.text_starts[first] : haystack.text_starts[last]].data


@dataclass(frozen=True, slots=True)
class Trial:
    """One repeat: its number and the filler that all its documents are made of."""

    number: int
    haystack: Haystack
