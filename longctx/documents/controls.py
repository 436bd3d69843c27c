"""Controls: the same questions without the haystack, to tell what a cell's score is worth.

Closed book is the question alone: what guessing and knowing give. Short is the question after the supporting
text alone: whether the model can do the task at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from longctx.documents.frame import Frame, Reach, make_document
from longctx.documents.splice import Piece, encode_after, encode_alone
from longctx.records import Asked, Bytes, Cell, Sample, TokenIds


def build_control(frame: Frame, cell: Cell, asked: Asked, support: Sequence[str] = ()) -> Sample:
    """The short control of a question after `support`, the texts that its answer needs; closed book without any.

    `cell` has the length 0: the prompt is as long as it is.
    """
    pieces: list[Piece] = []
    for text in (f" {text.strip()}" for text in support):
        left = pieces[-1] if pieces else None
        pieces.append(encode_after(left, text, frame.tokenizer) if left else encode_alone(text, frame.tokenizer))
    # A template's head and tail are cut where a text begins and ends; a letter merges with no line break.
    shown = pieces or [encode_alone(" none", frame.tokenizer)]
    tokens: list[TokenIds] = [piece.token_ids for piece in shown]
    parts: list[Bytes] = [piece.text.encode() for piece in shown]
    borders = np.cumsum([0, *map(len, tokens)]).tolist()
    reach = Reach(
        num_tokens=borders[-1],
        num_text_bytes=sum(map(len, parts)),
        last=shown[-1],
        support=tuple(slice(*place) for place in itertools.pairwise(borders)) if pieces else (),
    )
    return frame.sample(
        cell,
        asked,
        frame.head(shown[0]),
        make_document(tokens, parts, 0.0),
        reach,
        control="short" if pieces else "closed_book",
    )
