"""Controls: the same questions without the haystack, to tell what a cell's score is worth.

Closed book is the question alone: what guessing and knowing give. Short is the question after the supporting
text alone: whether the model can do the task at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longctx.documents.frame import Frame, Reach, make_document
from longctx.documents.splice import Piece, encode_after, encode_alone
from longctx.records import Asked, Bytes, Cell, Control, Sample, TokenIds


def build_control(frame: Frame, cell: Cell, asked: Asked, control: Control, support: Sequence[str]) -> Sample:
    """The control of one item. `support` are the texts that its answer needs, in order; closed book shows none.

    The length of its cell is the number of tokens that the prompt and its room take.
    """
    texts = [f" {text.strip()}" for text in support] if control == "short" else []
    pieces: list[Piece] = []
    for text in texts:
        left = pieces[-1] if pieces else None
        pieces.append(encode_after(left, text, frame.tokenizer) if left else encode_alone(text, frame.tokenizer))
    # A template's head and tail are cut where a text begins and ends; a letter merges with no line break.
    shown = pieces or [encode_alone(" none", frame.tokenizer)]
    tokens: list[TokenIds] = [piece.token_ids for piece in shown]
    parts: list[Bytes] = [piece.text.encode() for piece in shown]
    ends = np.cumsum([len(ids) for ids in tokens])
    reach = Reach(
        num_tokens=int(ends[-1]),
        num_text_bytes=sum(map(len, parts)),
        last=shown[-1],
        support=tuple(slice(int(end) - len(ids), int(end)) for end, ids in zip(ends, tokens, strict=True))
        if pieces
        else (),
    )
    return frame.sample(cell, asked, frame.head(shown[0]), make_document(tokens, parts, 0.0), reach, control=control)
