"""The KV cache: a document in blocks, and the tails of questions about it.

    document, in blocks        stem, one row     tails, a row for each question
    |--------|--------|---...  |------|          |----....|
                                                 |-------.|

A subclass of transformers' DynamicCache whose layers keep what they are given and hand only the new keys and values
on: attention (`attention.py`) streams the rest. While a document is read, its chunks go to blocks, which live in
tiers of memory. `ask` starts rows of questions over what is there: nothing below is copied, however many rows.
"""

from __future__ import annotations

import copy
import dataclasses
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from longctx.engine.blocks import BlockList, BlockView
from longctx.engine.disk import DiskChunk, DiskStore, States
from longctx.engine.memory import NoSpaceError
from longctx.engine.ranks import ALONE
from longctx.engine.tails import Positions, Tail
from longctx.engine.tiers import Tiers
from longctx.errors import ModelError

_thread = threading.local()


def take_pending() -> StreamedLayer | None:
    """The layer that this thread updated last, once."""
    layer: StreamedLayer | None = getattr(_thread, "pending", None)
    _thread.pending = None
    return layer


class StreamedLayer:
    """What full and local layers have in common; mixed into transformers' own kinds of layer."""

    is_croppable = False

    def attach(self, index: int, cache: StreamedCache, reach: int | None) -> None:
        tiers, place = cache.tiers, cache.tiers.place(index)
        # What a local layer sees is little; every rank keeps all of it.
        dealt = tiers.dealt if reach is None else ()
        self.index = index
        self.cache = weakref.ref(cache)
        self.stager = place.stager
        self.ranks = tiers.ranks if dealt else ALONE
        """Among whom this layer's blocks are dealt out."""
        self.blocks = BlockList(place.memory, place.stager, tiers.block_tokens, reach, dealt)
        self.stem = Tail()
        self.tail = Tail()
        self.given_value: Any = lambda: None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> States:
        """Keep new keys and values (rows, kv_heads, n, dim); returns the very same."""
        cache = self.cache()
        assert cache is not None
        self.is_initialized = True
        if cache.asking:
            self.tail.append((key_states, value_states))
        else:
            states = key_states[0], value_states[0]
            self.blocks.append(states, on_disk=cache.tiers.disk is not None)
            cache.note_new(self.index, states)
        # How attention finds this layer: by the key that it is given, or as the last one updated where a model makes
        # the key anew in between. Weak, since a layer that is held by its own key would never be freed.
        key_states.longctx_layer = weakref.ref(self)  # type: ignore[attr-defined]
        self.given_value = weakref.ref(value_states)
        _thread.pending = self
        return key_states, value_states

    def get_seq_length(self) -> int:
        cache = self.cache()
        return 0 if cache is None else cache.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def upcoming(self) -> list[BlockView]:
        """The first blocks that the next layer of the model will stream, if it is on the same device."""
        cache = self.cache()
        later = [] if cache is None else cache.layers[self.index + 1 :]
        following = next((layer for layer in later if isinstance(layer, StreamedLayer)), None)
        if following is None or following.stager is not self.stager:
            return []
        return following.blocks.views(following.blocks.length)


class FullLayer(StreamedLayer, DynamicLayer):  # type: ignore[misc] # transformers is untyped
    """A layer that sees every token."""


class LocalLayer(StreamedLayer, DynamicSlidingWindowLayer):  # type: ignore[misc] # transformers is untyped
    """A layer that sees a window or a chunk; what is out of reach is dropped."""


class StreamedCache(DynamicCache):  # type: ignore[misc] # transformers is untyped
    """A cache for one model's config. `length` is committed after each forward; a failed one is rolled back."""

    def __init__(self, config: Any, tiers: Tiers) -> None:
        """Raises ModelError for layers that cannot be streamed."""
        super().__init__(config=config)
        self.tiers = tiers
        self.length = 0
        self.positions: Positions | None = None
        """Of the tails; None while the document is read."""
        self.base = 0
        """Tokens before the tails."""
        self.stem_start = 0
        self._num_new = 0
        self._positions_on: dict[torch.device, Positions] = {}
        self._new: dict[int, list[States]] = {}
        self.layers: list[Any] = [self._streamed(index, layer) for index, layer in enumerate(self.layers)]

    def _streamed(self, index: int, layer: Any) -> Any:
        made: Any
        if type(layer) is DynamicLayer:
            made, reach = FullLayer(), None
        elif type(layer) is DynamicSlidingWindowLayer:
            made, reach = LocalLayer(layer.sliding_window), layer.sliding_window
        elif type(layer).__name__ == "DummyLayer":  # of layers that use the keys of another
            return layer
        else:  # Mamba, linear attention and indexed layers keep a state that cannot be split into blocks
            raise ModelError(f"Models with a cache of {type(layer).__name__} cannot be measured yet.")
        made.attach(index, self, reach)
        return made

    def streamed_layers(self) -> list[Any]:
        """The layers that hold keys and values."""
        return [layer for layer in self.layers if isinstance(layer, StreamedLayer)]

    @property
    def asking(self) -> bool:
        """Whether new tokens belong to questions, not to the document."""
        return self.positions is not None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    def branch(self) -> StreamedCache:
        """A cache of the same tokens; extending it leaves this one as it is, and the other way round."""
        twin = copy.copy(self)
        twin._new = {}
        twin.layers = []
        for layer in self.layers:
            mine = copy.copy(layer)
            if isinstance(layer, StreamedLayer):
                mine.cache = weakref.ref(twin)
                mine.blocks, mine.tail = layer.blocks.branch(), Tail(layer.tail.states)
            twin.layers.append(mine)
        return twin

    def ask(self, num_rows: int = 1) -> StreamedCache:
        """Rows of questions over all that is here, which must be one row. Its own tail becomes the common stem.

        Raises ValueError if there is a stem already, or more than one row.
        """
        twin = self.branch()
        if self.positions is not None:
            if (
                self.stem_start < self.base
                or len(self.positions.positions) != 1
                or not bool(self.positions.valid.all())
            ):
                raise ValueError("questions can be asked over a document and one stem, which is one whole row")
            for layer in twin.streamed_layers():
                layer.stem, layer.tail = layer.tail, Tail()
        twin.stem_start, twin.base = self.base if self.asking else self.length, self.length
        twin.positions, twin._num_new = Positions.none(num_rows), 0
        return twin

    def note_new(self, index: int, states: States) -> None:
        """Remember what a forward adds to a layer of the document, for the disk."""
        if self.tiers.disk is not None:
            self._new.setdefault(index, []).append(states)

    def commit(self, num_tokens: int) -> None:
        """The forward over `num_tokens` tokens of the document is done."""
        self.length += num_tokens

    def save(self, name: str) -> None:
        """Keep on disk what was added since the last time, as the chunk `name`.

        Raises NoSpaceError, on every rank if one of them has no room.
        """
        if self.tiers.disk is not None:
            full = ""
            try:
                self._write_chunk(self.tiers.disk, name)
            except NoSpaceError as error:  # its text alone: an error that is kept keeps this cache alive
                full = str(error)
            if not self.tiers.ranks.all(not full):
                raise NoSpaceError(full or "the disk of another rank is full")
        self._new = {}

    def _write_chunk(self, disk: DiskStore, name: str) -> None:
        """Full and local layers in files of their own: the local ones are gone once they are out of reach."""
        for suffix, local in (("", False), (".local", True)):
            layers = {layer.index: layer for layer in self.streamed_layers() if isinstance(layer, LocalLayer) == local}
            new = {index: _joined(states) for index, states in self._new.items() if index in layers}
            if new:
                chunk = disk.write(name + suffix, {i: layers[i].blocks.held(states) for i, states in new.items()})
                for index, states in new.items():
                    layers[index].blocks.add_piece(chunk, index, states[0].shape[1])

    def roll_back(self, length: int) -> None:
        """Undo what was added to the document after its first `length` tokens, which must be of this chunk."""
        self._new, self.length = {}, length
        for layer in self.streamed_layers():
            layer.blocks.crop(length)

    def restore(self, name: str, num_tokens: int) -> None:
        """Take the chunk `name` of `num_tokens` tokens from disk; of local layers what is still there."""
        disk = self.tiers.disk
        assert disk is not None
        for suffix, local in (("", False), (".local", True)):
            layers = [layer for layer in self.streamed_layers() if isinstance(layer, LocalLayer) == local]
            if local and not disk.path(name + suffix).exists():
                for layer in layers:
                    layer.blocks.skip(num_tokens)
            elif layers:
                chunk = DiskChunk(disk, name + suffix)
                for layer in layers:
                    states = layer.blocks.unheld(chunk.read(layer.index), num_tokens)
                    layer.blocks.append(states, on_disk=True)
                    layer.blocks.add_piece(chunk, layer.index, num_tokens)
        self.commit(num_tokens)

    def row_lengths(self) -> torch.Tensor:
        """Tokens of each row, the document's included."""
        assert self.positions is not None
        return self.base + self.positions.valid.sum(1)

    def begin_rows(self, valid: torch.Tensor) -> torch.Tensor:
        """Positions (rows, n) of the tokens of the next forward, of which `valid` (rows, n) are no padding.

        Raises ValueError if nothing was asked.
        """
        if self.positions is None:
            raise ValueError("rows belong to questions; ask first")
        positions = self.row_lengths().unsqueeze(1) + torch.arange(valid.shape[1])
        self.positions = self.positions.append(positions, valid)
        self._num_new, self._positions_on = valid.shape[1], {}
        return positions

    def new_positions(self) -> torch.Tensor:
        """The positions of the present forward, (rows, n), in host memory."""
        assert self.positions is not None
        return self.positions.positions[:, self.positions.num_columns - self._num_new :]

    def positions_on(self, device: torch.device) -> Positions:
        """The positions of all columns up to the present forward's; brought to a device once for all its layers."""
        assert self.positions is not None
        if device not in self._positions_on:
            self._positions_on[device] = self.positions.to(device)
        return self._positions_on[device]

    def take_back(self, keep: torch.Tensor) -> None:
        """The forward over rows is done; of its columns keep those that `keep` (rows, n) says, none after a gap."""
        assert self.positions is not None
        valid = self.positions.valid.clone()
        valid[:, valid.shape[1] - keep.shape[1] :] &= keep
        self.positions = dataclasses.replace(self.positions, valid=valid)
        self.length = int(self.row_lengths().max())

    def select(self, rows: Sequence[int]) -> StreamedCache:
        """A cache of some rows alone."""
        assert self.positions is not None
        twin = self.branch()
        for layer in twin.streamed_layers():
            layer.tail = layer.tail.rows(rows)
        twin.positions = self.positions.rows(rows)
        twin.length = int(twin.row_lengths().max())
        return twin


def _joined(parts: list[States]) -> States:
    """One after the other, in host memory."""
    keys, values = (torch.cat([part[index] for part in parts], 1).cpu() for index in range(2))
    return keys, values
