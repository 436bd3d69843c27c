"""Prompts that somebody else wrote: taken as they are, in the model's chat template or plain."""

from __future__ import annotations

import hashlib

import numpy as np

from longctx.documents.frame import Frame
from longctx.errors import BudgetError
from longctx.lengths import format_length
from longctx.records import Cell, Document, Given, Prompt, Sample

# Kept apart from the shared prefix, so that prompts which differ only at their ends are asked as one batch.
_TAIL_TOKENS = 32


def build_given(frame: Frame, given: Given, trial: int) -> Sample:
    """The sample of one prompt; raises BudgetError if it and its completion take more than its length."""
    room = given.max_new_tokens or frame.max_new_tokens
    text = _whole(frame, given)
    before = np.asarray(frame.tokenizer.prefix_ids if frame.template.kind == "plain" else [], dtype=np.int32)
    ids = np.concatenate([before, frame.tokenizer.encode(text).token_ids])
    if len(ids) + room > given.length:
        raise BudgetError(
            f"A prompt of {frame.task} has {len(ids)} tokens and {room} for its answer, more than its "
            f"{format_length(given.length)}: {given.text[:40]!r}."
        )
    full = np.concatenate([before, frame.tokenizer.encode(f"{text} {given.targets[0]}").token_ids])
    clean = np.array_equal(full[: len(ids)], ids)
    cell = Cell(frame.task, given.length, given.depth, trial)
    identity = repr((cell, given, room, frame.stop, frame.tokenizer.fingerprint))
    cut = max(0, len(ids) - _TAIL_TOKENS)
    document = Document(hashlib.blake2b(ids.tobytes(), digest_size=8).hexdigest(), ids[:cut], (text.encode(),))
    prompt = Prompt(
        id=hashlib.sha256(identity.encode() + ids.tobytes()).hexdigest()[:16],
        head_ids=ids[:0],
        document=document,
        num_document_tokens=cut,
        tail_ids=ids[cut:],
        max_new_tokens=room,
        stop=frame.stop,
        num_text_bytes=len(document.parts[0]),
    )
    draft = full[len(ids) :][:room] if clean else ids[:0]
    return Sample(cell, prompt, given.targets, draft, support_positions=(), needle_depth=given.depth)


def _whole(frame: Frame, given: Given) -> str:
    if frame.template.kind == "plain":
        return given.text + (f" {given.answer_prefix}" if given.answer_prefix else "")
    if frame.template.kind == "message":
        message = f"{given.text}\n{given.answer_prefix}" if given.answer_prefix else given.text
        return frame.tokenizer.render_chat(message) if frame.tokenizer.has_chat_template else message
    return frame.tokenizer.render_chat(given.text) + given.answer_prefix
