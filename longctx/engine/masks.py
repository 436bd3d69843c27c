"""What a mask would be made of, for attention that looks at a corner of it at a time.

transformers calls `lazy_mask` in place of building a tensor of queries x context; the record travels untouched
through the decoder layers to our attention.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers.masking_utils import causal_mask_function

from longctx.errors import ModelError

Relation = Literal["all", "none", "causal", "mixed"]
"""Which of a part's keys the queries see: every query all, none, each those up to its own, or as a mask says."""


@dataclass(frozen=True, eq=False)
class LazyMask:
    """The queries start..start + num_queries of a batch, and who may see whom."""

    function: Callable[..., Any]
    """transformers' mask function of (batch, head, query, key) indices, given as tensors that broadcast."""
    start: int
    num_queries: int
    device: torch.device | None = None
    """Where positions must be for the function, which holds tensors there; None if it takes them anywhere."""
    skipped: int = 0
    """Queries of the forward before these."""
    local_size: int | None = None
    """Tokens of a sliding window or of a chunk; None for full attention."""
    padding: torch.Tensor | None = None
    """(batch, keys), False where a token is padding; None if there is none."""
    known: dict[tuple[int, int, int, int], Relation] = dataclasses.field(default_factory=dict)

    def __getitem__(self, index: Any) -> LazyMask:
        """A part of the queries, as Gemma 4 takes it. Raises ModelError for models that read their mask."""
        everything = slice(None)
        if not (
            isinstance(index, tuple)
            and len(index) == 4
            and index[0] == index[1] == index[3] == everything
            and isinstance(index[2], slice)
        ):
            raise ModelError(f"This model reads its attention mask ([{index}]), which streamed attention never builds.")
        first, last, _ = index[2].indices(self.num_queries)
        return dataclasses.replace(
            self, start=self.start + first, num_queries=last - first, skipped=self.skipped + first, known={}
        )

    def visible(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Mask (batch, 1, queries, keys) for positions (batch, queries) and (batch, keys)."""
        batch, head = (torch.zeros(1, 1, 1, 1, dtype=torch.long, device=queries.device) for _ in "bh")
        shape = (max(len(queries), len(keys)), 1, queries.shape[1], keys.shape[1])
        seen = self.function(batch, head, queries[:, None, :, None], keys[:, None, None, :])
        seen = torch.as_tensor(seen, device=queries.device).expand(shape)
        if self.padding is not None:
            seen = seen & self.padding[:, None, None, :].to(queries.device)
        return seen

    def relation(self, first_query: int, last_query: int, first_key: int, last_key: int) -> Relation:
        """How the queries of a range of positions see the keys of another, both with their last.

        A window or a chunk hides more the further back a key is, so the two ends decide for all between.
        """
        ends = (first_query, last_query, first_key, last_key)
        if self.padding is not None:
            return "mixed"
        if self.function is causal_mask_function:
            if last_key <= first_query:
                return "all"
            return "causal" if (first_query, last_query) == (first_key, last_key) else "mixed"
        if self.local_size is None:
            return "mixed"
        if ends not in self.known:
            self.known[ends] = self._local_relation(*ends)
        return self.known[ends]

    def _local_relation(self, first_query: int, last_query: int, first_key: int, last_key: int) -> Relation:
        farthest = self._sees(last_query, first_key)
        if last_key < first_query:
            if farthest:
                return "all"
            return "mixed" if self._sees(first_query, last_key) else "none"
        return "causal" if farthest and (first_query, last_query) == (first_key, last_key) else "mixed"

    def _sees(self, query: int, key: int) -> bool:
        # In host memory where it can be: a GPU would have to be waited for.
        positions = (torch.tensor([[position]], device=self.device) for position in (query, key))
        return bool(self.visible(*positions))


def _held(function: Any) -> dict[str, Any]:
    """What a function was made with, by name."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return dict(zip(names, (cell.cell_contents for cell in getattr(function, "__closure__", None) or ()), strict=True))


def _holds_tensors(function: Any) -> bool:
    """Whether a function, or one that it calls, was made with a tensor inside."""
    held = list(_held(function).values())
    held += [part for parts in held if isinstance(parts, tuple | list) for part in parts]
    return any(isinstance(part, torch.Tensor) or (callable(part) and _holds_tensors(part)) for part in held)


def _without_padding(function: Callable[..., Any]) -> Callable[..., Any]:
    """A mask function for rows without padding on the left.

    Llama 4's holds the padding of each row, all 0 then, in a tensor of the model's first device: whoever asks it
    something has to wait for that device. Any other function is returned as it is.
    """
    parts = _held(function).get("mask_functions", ())
    if len(parts) != 2 or parts[1] is not causal_mask_function:
        return function
    size = _held(parts[0]).get("chunk_size")
    if getattr(parts[0], "__qualname__", "") != "chunked_overlay.<locals>.inner_mask" or not isinstance(size, int):
        return function

    def in_chunks(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (key // size == query // size) & (key <= query)

    return in_chunks


def lazy_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    device: Any = "cpu",
    **_: Any,
) -> LazyMask:
    """What transformers calls for every kind of mask that a model uses."""
    padded = attention_mask is not None and not bool(attention_mask.all())
    function = mask_function if padded else _without_padding(mask_function)
    return LazyMask(
        function=function,
        start=int(q_offset),
        num_queries=q_length,
        local_size=local_size,
        padding=attention_mask if padded else None,
        device=torch.device(device) if _holds_tensors(function) else None,
    )
