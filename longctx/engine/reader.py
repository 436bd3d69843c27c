"""A loaded model that reads documents and questions, and what may go wrong in its forwards."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from longctx.engine.attention import CacheFilled
from longctx.engine.completion import Finisher, end_ids
from longctx.engine.cost import ModelShape
from longctx.engine.kv import StreamedCache
from longctx.engine.memory import NoSpaceError
from longctx.engine.tiers import Tiers
from longctx.errors import RankError
from longctx.records import Status, TokenIds

# What a model may raise on a prompt that it cannot read: each becomes a row, not the end of the run.
FAILURES = (MemoryError, RuntimeError, ValueError, IndexError)


def failure_status(error: Exception) -> Status:
    """`oom` for every way in which torch says that memory ran out, `no_space` for full tiers, else `error`."""
    if isinstance(error, NoSpaceError):
        return "no_space"
    phrases = ("allocate memory", "out of memory", "ALLOC_FAILED")
    typed = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return "oom" if typed or any(phrase in str(error) for phrase in phrases) else "error"


class Reader:
    """A loaded model with the sizes that decide how it reads."""

    def __init__(self, model: Any, decode: Callable[[list[int]], str], shape: ModelShape, tiers: Tiers) -> None:
        """`model` runs with attention `longctx`."""
        self.model = model
        self.shape = shape
        self.tiers = tiers
        self.finisher = Finisher(decode, end_ids(model))
        self.mixes_lengths = _mixes_lengths(model)
        self.reach = max((window for window in shape.windows if window is not None), default=0)

    def new_cache(self) -> StreamedCache:
        """An empty cache for this model."""
        return StreamedCache(self.model.config, self.tiers)

    @torch.inference_mode()
    def prefill(self, ids: TokenIds, cache: StreamedCache) -> None:
        """Extend a document by `ids`, at most one chunk of them.

        The last layer is left as soon as it has its keys and values. Where memory is too small for the chunk, its
        halves are read one after the other; raises what the model raises, the cache is then as it was.
        """
        start = cache.length
        try:
            self._read(ids, cache)
        except FAILURES as error:
            cache.roll_back(start)
            if failure_status(error) != "oom" or len(ids) < 2:
                raise
            free_device_memory()
            half = len(ids) // 2
            try:
                self._read(ids[:half], cache)
                self._read(ids[half:], cache)
            except FAILURES:
                cache.roll_back(start)
                raise

    def _read(self, ids: TokenIds, cache: StreamedCache) -> None:
        with contextlib.suppress(CacheFilled):
            self._forward(torch.from_numpy(ids.astype("int64"))[None], cache, 1, last_layer=len(self.shape.windows) - 1)
        cache.commit(len(ids))

    @torch.inference_mode()
    def ask(self, rows: Sequence[Sequence[int]], cache: StreamedCache, keep: int) -> torch.Tensor:
        """Logits (rows, keep, vocabulary) of the last columns of rows of tokens, padded at their ends.

        Extends the rows of `cache`, which are as many; what of it stays is said with `take_back`.
        """
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
        valid = torch.arange(width) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
        lengths = cache.row_lengths()
        positions = cache.begin_rows(valid)
        arguments = {}
        if bool((lengths != cache.length).any()):  # not what a model makes of the cache's length by itself
            arguments["position_ids"] = positions.to(self.model.device)
        return self._forward(ids, cache, keep, **arguments)

    def _forward(self, ids: torch.Tensor, cache: StreamedCache, keep: int, **arguments: Any) -> torch.Tensor:
        with self._all_or_none():
            output = self.model(
                input_ids=_sent(ids, self.model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=keep,
                **arguments,
            )
        logits: torch.Tensor = output.logits
        return logits

    @contextlib.contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Raise RankError for what fails in one of several processes alone: the others wait for it to no end.

        What is wrong with a prompt, or with room for it, all of them find alike.
        """
        try:
            yield
        except (NoSpaceError, ValueError, IndexError):
            raise
        except (RuntimeError, MemoryError) as error:
            ranks = self.tiers.ranks
            if ranks.count == 1:
                raise
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            raise RankError(
                f"Rank {ranks.index} of {ranks.count} failed ({reason}), and the others cannot go on without it. "
                "Finished rows are kept; run the same command again, with a smaller --chunk if memory was short."
            ) from error


def _sent(ids: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`ids` on a device, without waiting for what the device is doing: the next chunk is launched meanwhile."""
    if device.type != "cuda":
        return ids.to(device)
    return ids.pin_memory().to(device, non_blocking=True)


def _mixes_lengths(model: Any) -> bool:
    """Whether rows of different lengths can be decoded together: positions are given, and nothing else tells them."""
    by_length = getattr(model.config, "attn_temperature_tuning", False)  # Llama 4 takes it from the cache's length
    return "position_ids" in inspect.signature(getattr(model, "forward", model)).parameters and not by_length


def free_device_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
