"""Documents of tasks that write a list of their own: as many whole entries as the context has room for.

A list cannot be filled to the last token. What is left goes to the room for the completion, so prompt and
room together are the context length here too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from longctx.documents.frame import Frame, Reach, make_document
from longctx.documents.splice import Piece, encode_inside
from longctx.errors import BudgetError
from longctx.lengths import format_length
from longctx.records import Cell, Control, Listing, Sample

_MAX_GROWTH = 16


def build_listed(frame: Frame, cell: Cell, room: int, min_entries: int, write: Callable[[int], Listing]) -> Sample:
    """The sample of one cell with the longest list that leaves `room` tokens for the completion.

    `write` makes a list of a number of entries. Raises BudgetError if `min_entries` do not fit.
    """
    limit = cell.length - room
    best = build_list(frame, cell, write(min_entries))
    if best.prompt.num_tokens > limit:
        raise BudgetError(
            f"A context of {format_length(cell.length)} tokens is too short for {frame.task}: a prompt with "
            f"{min_entries} entries has {best.prompt.num_tokens} tokens, and {room} are kept for the answer."
        )
    num_entries, too_many = min_entries, None
    while too_many is None or too_many - num_entries > 1:
        # Lists grow nearly in proportion to their entries: aim straight at the limit.
        left = limit - best.prompt.num_tokens
        per_entry = max(1.0, best.prompt.num_document_tokens / num_entries)
        tried = min(num_entries + max(1, int(left / per_entry)), _MAX_GROWTH * num_entries)
        if too_many is not None:
            if left < per_entry:
                break
            tried = min(tried, too_many - 1)
        sample = build_list(frame, cell, write(tried))
        if sample.prompt.num_tokens <= limit:
            num_entries, best = tried, sample
        else:
            too_many = tried
    return best


def build_list(frame: Frame, cell: Cell, listing: Listing, control: Control | None = None) -> Sample:
    """The sample that asks after this very list; raises SpliceError.

    Its room is what the list leaves of the cell's length, below 0 if it is too long; a control's is the task's own.
    """
    text = "".join(listing.entries)
    encoding = encode_inside(text, frame.tokenizer)
    borders = np.cumsum([0, *map(len, listing.entries)], dtype=np.int64)
    counts, clean = encoding.boundaries(borders)
    inner = np.flatnonzero(clean[1:-1]) + 1  # entries before and after which the list can be taken apart
    first, last = (int(inner[0]), int(inner[-1])) if len(inner) else (len(borders) - 1, 0)
    document = make_document([encoding.token_ids], [text.encode()], 0.0)
    starts = counts[list(listing.support)]
    ends = counts[[index + 1 for index in listing.support]]
    reach = Reach(
        num_tokens=len(encoding.token_ids),
        num_text_bytes=len(document.parts[0]),
        last=Piece(text[borders[last] :], encoding.token_ids[counts[last] :]),
        support=tuple(slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True)),
    )
    head = frame.head(Piece(text[: borders[first]], encoding.token_ids[: counts[first]]))
    num_tokens = len(head) + reach.num_tokens + frame.tail(reach.last, listing).num_added
    room = cell.length - num_tokens if control is None else frame.max_new_tokens
    return frame.sample(cell, listing, head, document, reach, max_new_tokens=room, control=control)
