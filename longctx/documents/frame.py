"""The frame around documents: head, tail, room for the completion, and the identity of what is built."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import numpy as np

from longctx.documents.splice import Piece, Tail, encode_head, encode_tail
from longctx.documents.template import Template
from longctx.documents.tokenizer import Tokenizer
from longctx.records import Cell, Design, Document, Haystack, Item, Prompt, Sample, TokenIds


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

    def tail(self, last: Piece, item: Item) -> Tail:
        text = self.template.tail_text(item, self.tokenizer)
        return encode_tail(last, text, f" {item.targets[0]}", self.tokenizer)

    def sample(
        self,
        cell: Cell,
        item: Item,
        head_ids: TokenIds,
        document: Document,
        num_document_tokens: int,
        tail: Tail,
        needle: slice,
    ) -> Sample:
        """The sample that asks `item` after the document's first tokens; `needle` is its place in the document.

        Its id is a hash of everything that the model will see and of what would be right.
        """
        before, after = needle.start, num_document_tokens - needle.stop
        digest = hashlib.sha256()
        identity = (self.task, self.design, self.seed, cell, item.targets, self.max_new_tokens, self.stop)
        for part in (repr(identity), self.tokenizer.fingerprint, document.id, str(num_document_tokens)):
            digest.update(part.encode() + b"\0")
        digest.update(head_ids.tobytes() + b"\0" + tail.token_ids.tobytes())
        prompt = Prompt(
            id=digest.hexdigest()[:16],
            head_ids=head_ids,
            document=document,
            num_document_tokens=num_document_tokens - tail.num_taken_back,
            tail_ids=tail.token_ids,
            max_new_tokens=self.max_new_tokens,
            stop=self.stop,
        )
        return Sample(
            cell=cell,
            prompt=prompt,
            targets=item.targets,
            draft_ids=tail.draft_ids,
            needle_position=len(head_ids) + needle.start,
            needle_depth=before / max(1, before + after),
        )


def make_document(parts: list[TokenIds]) -> Document:
    token_ids = np.concatenate(parts)
    return Document(hashlib.sha256(token_ids.tobytes()).hexdigest()[:16], token_ids)


@dataclass(frozen=True, slots=True)
class Trial:
    """One repeat: its number and the filler that all its documents are made of."""

    number: int
    haystack: Haystack
