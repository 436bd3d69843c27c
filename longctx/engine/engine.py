"""Answers prompts with a transformers model, walking their prompt tree once.

Every chunk of the tree is computed once. At a branch all tails go through the model as one batch,
each followed by its draft: where greedy decoding would have produced the draft nothing is decoded,
otherwise decoding starts at the first token that differs, helped by what the prompt suggests.

On a CPU several workers walk different parts of the tree, one core each: a matrix product shared
by two cores of small machines wastes a quarter of them on waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from longctx.engine.cost import ModelShape
from longctx.engine.reader import Reader
from longctx.engine.tiers import Tiers
from longctx.engine.tree import build_tree
from longctx.engine.walk import Walk
from longctx.environment import num_cores
from longctx.records import Answer, Prompt, TokenIds


class Engine:
    """A reader, and how it walks prompt trees."""

    def __init__(
        self,
        model: Any,
        decode: Callable[[list[int]], str],
        shape: ModelShape,
        chunk: int,
        tiers: Tiers,
        batch_tokens: int = 8192,
        num_workers: int = 1,
    ) -> None:
        """`chunk` is in tokens, `batch_tokens` are of the questions in a batch. More than one worker is for CPUs."""
        self.reader = Reader(model, decode, shape, tiers)
        self.chunk = chunk
        self.batch_tokens = batch_tokens
        self.num_workers = num_workers

    def answers(
        self,
        prompts: Sequence[Prompt],
        drafts: Mapping[str, TokenIds],
        on_progress: Callable[[int], None] = lambda flops: None,
    ) -> Iterator[Answer]:
        """An answer for every prompt, as they come; `drafts` are token ids by prompt id.

        `on_progress` gets the floating-point operations done since the last call. A prompt that the
        model fails on is answered with that status.
        """
        before = torch.get_num_threads()
        if self.num_workers > 1:
            torch.set_num_threads(max(1, num_cores() // self.num_workers))
        walk = Walk(self.reader, drafts, self.batch_tokens, self.num_workers)
        finished = False
        try:
            for event in walk.events(build_tree(prompts, self.chunk)):
                if isinstance(event, Answer):
                    yield event
                else:
                    on_progress(event.flops)
            finished = True
        finally:
            disk = self.reader.tiers.disk
            if disk is not None and not finished:
                disk.keep_files()  # the next run goes on from them
            walk.stop()
            torch.set_num_threads(before)
