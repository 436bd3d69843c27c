"""The keys and values of a document in one layer, as blocks in tiers of memory.

    block 0        block 1        block 2
    |--------------|--------------|------....|
    full           full           length of this list

Borders are at absolute multiples of the block size, whoever reads the document: so the sums of attention are
split in the same way, and their last bits are the same. Lists that branch share blocks. A block is only ever
appended to; the first list to go on does so in place, the others copy the tokens that are theirs (copy on write).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from longctx.engine.disk import DiskChunk, States
from longctx.engine.memory import Memory, NoSpaceError, Tier


@dataclass(frozen=True, slots=True)
class BlockShape:
    """What a block of one layer holds."""

    num_tokens: int
    num_heads: int
    key_dim: int
    value_dim: int
    dtype: torch.dtype
    tokens_first: bool
    """Memory layout: (tokens, heads, dim), one run for any first tokens; else (heads, tokens, dim), as CPUs like it."""

    @property
    def num_bytes(self) -> int:
        return self.num_tokens * self.num_heads * (self.key_dim + self.value_dim) * self.dtype.itemsize

    def view(self, buffer: torch.Tensor) -> States:
        """Keys and values (kv_heads, num_tokens, dim) in a buffer of bytes."""
        border = self.num_tokens * self.num_heads * self.key_dim * self.dtype.itemsize
        parts = buffer[:border].view(self.dtype), buffer[border:].view(self.dtype)
        keys, values = (self._arrange(p, dim) for p, dim in zip(parts, (self.key_dim, self.value_dim), strict=True))
        return keys, values

    def _arrange(self, flat: torch.Tensor, dim: int) -> torch.Tensor:
        if self.tokens_first:
            return flat.view(self.num_tokens, self.num_heads, dim).transpose(0, 1)
        return flat.view(self.num_heads, self.num_tokens, dim)


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of a block that are on disk: the tokens from `skip` on of one layer of a chunk."""

    chunk: DiskChunk
    layer: int
    skip: int
    num_tokens: int


class Block:
    """Some tokens' keys and values, in one tier of memory or on disk alone."""

    def __init__(self, shape: BlockShape, memory: Memory) -> None:
        self.shape = shape
        self.is_here = memory.is_here
        self.filled = 0
        self.pieces: list[Piece] = []
        """Where the tokens are on disk, if they are."""
        self.tier: Tier | None = None
        self.states: States | None = None
        """Keys and values (kv_heads, num_tokens, dim); None if they are on disk alone."""
        taken = memory.take(shape.num_bytes)
        if taken is not None:
            self.tier, buffer = taken
            self.states = shape.view(buffer)
            weakref.finalize(self, memory.give_back, self.tier, buffer).atexit = False

    def write(self, start: int, states: States) -> None:
        """Fill the tokens from `start` on with keys and values (kv_heads, n, dim); nothing if they go to disk alone."""
        stop = start + states[0].shape[1]
        if self.states is not None:
            for mine, new in zip(self.states, states, strict=True):
                mine[:, start:stop].copy_(new, non_blocking=True)
        self.filled = stop

    def read_disk(self, num_tokens: int) -> States:
        """The first tokens from their files, in host memory."""
        keys: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        for piece in self.pieces:
            for found, states in zip((keys, values), piece.chunk.read(piece.layer), strict=True):
                found.append(states[:, piece.skip : piece.skip + piece.num_tokens])
        return torch.cat(keys, 1)[:, :num_tokens], torch.cat(values, 1)[:, :num_tokens]


@dataclass(frozen=True, slots=True)
class BlockView:
    """The tokens of a block that belong to one list."""

    block: Block
    start: int
    """Position of the first token."""
    skip: int
    """Tokens of the block before that one."""
    num_tokens: int

    def cut(self, states: States) -> States:
        """The view's tokens of what is the whole block's."""
        keys, values = (s[:, self.skip : self.skip + self.num_tokens] for s in states)
        return keys, values


@dataclass(frozen=True, slots=True)
class _Part:
    """Tokens in a row that fall into one block."""

    index: int
    """Of the block."""
    fill: int
    """Tokens of the block before them."""
    tokens: slice
    """Which of the tokens in a row they are."""

    @property
    def num_tokens(self) -> int:
        return int(self.tokens.stop - self.tokens.start)


class Writer(Protocol):
    """Fills blocks, wherever they are."""

    def write(self, block: Block, start: int, states: States) -> None:
        """Fill the tokens from `start` on with keys and values (kv_heads, n, dim)."""

    def copy(self, source: Block, target: Block, num_tokens: int) -> None:
        """Fill the first tokens of `target` with those of `source`."""


class BlockList:
    """The first `length` tokens of a document in one layer; tokens further back than `reach` may be gone."""

    _lock = threading.Lock()  # lists that share a block are extended by different workers

    def __init__(
        self,
        memory: Memory,
        writer: Writer,
        block_tokens: int,
        reach: int | None = None,
        dealt: Sequence[Memory] = (),
    ) -> None:
        """Blocks go round the memories `dealt`, some of them in other processes; without any all are in `memory`."""
        self.length = 0
        self.reach = reach
        self._memory = memory
        self._dealt = dealt
        self._writer = writer
        self._block_tokens = block_tokens
        self._first = 0  # index of the first block that is still there
        self._gap = 0  # tokens before this position were never there
        self._blocks: list[Block] = []

    def branch(self) -> BlockList:
        """A list of the same tokens; extending it leaves this one as it is, and the other way round."""
        twin = BlockList(self._memory, self._writer, self._block_tokens, self.reach, self._dealt)
        twin.length, twin._gap = self.length, self._gap
        twin._first, twin._blocks = self._first, list(self._blocks)
        return twin

    def append(self, states: States, on_disk: bool = False) -> None:
        """Add keys and values (kv_heads, n, dim).

        Raises NoSpaceError where memory is full, unless `on_disk` says that they will be in a file, which
        `add_piece` then names.
        """
        self._drop_unseen()
        keys, values = states
        for part in self._parts(self.length, keys.shape[1]):
            block = self._writable(part.index, part.fill, states, on_disk)
            self._writer.write(block, part.fill, (keys[:, part.tokens], values[:, part.tokens]))
            self.length += part.num_tokens

    def _parts(self, position: int, num_tokens: int) -> Iterator[_Part]:
        """The tokens from `position` on, cut at the borders of blocks."""
        done = 0
        while done < num_tokens:
            index, fill = divmod(position + done, self._block_tokens)
            count = min(self._block_tokens - fill, num_tokens - done)
            yield _Part(index, fill, slice(done, done + count))
            done += count

    def _writable(self, index: int, fill: int, states: States, on_disk: bool) -> Block:
        """The block `index`, which ends after `fill` tokens and which no other list will append to."""
        if index - self._first < len(self._blocks):
            block = self._blocks[index - self._first]
            with self._lock:
                if block.filled == fill:
                    block.filled = self._block_tokens + 1  # taken; `write` sets it to what it is then
                    return block
            twin = self._new_block(index, block.shape, on_disk)
            self._writer.copy(block, twin, fill)
            twin.pieces = _first_pieces(block.pieces, fill)
            self._blocks[index - self._first] = twin
            return twin
        keys, values = states
        tokens_first = self._memory.device.type != "cpu"
        shape = BlockShape(self._block_tokens, keys.shape[0], keys.shape[2], values.shape[2], keys.dtype, tokens_first)
        block = self._new_block(index, shape, on_disk)
        self._blocks.append(block)
        return block

    def _memory_of(self, index: int) -> Memory:
        return self._dealt[index % len(self._dealt)] if self._dealt else self._memory

    def is_here(self, position: int) -> bool:
        """Whether the block of the token at `position` is, or would be, held by this process."""
        return self._memory_of(position // self._block_tokens).is_here

    def _new_block(self, index: int, shape: BlockShape, on_disk: bool) -> Block:
        block = Block(shape, self._memory_of(index))
        if block.states is None and not on_disk:
            tiers = ", ".join(f"{tier} {self._memory.usage(tier).budget:,}" for tier in ("device", "host"))
            raise NoSpaceError(f"keys and values fit in no tier (budgets in bytes: {tiers}; no disk)")
        return block

    def add_piece(self, chunk: DiskChunk, layer: int, num_tokens: int) -> None:
        """Say that of the last `num_tokens` tokens those that are `held` are in `chunk`.

        The blocks of the others refer to it too: it says that their tokens have been read.
        """
        skip = 0
        for part in self._parts(self.length - num_tokens, num_tokens):
            if part.index >= self._first:
                self._blocks[part.index - self._first].pieces.append(Piece(chunk, layer, skip, part.num_tokens))
            if self._memory_of(part.index).is_here:
                skip += part.num_tokens

    def held(self, states: States) -> States:
        """Of the last tokens' keys and values (kv_heads, n, dim) those whose blocks are in this process."""
        if not self._dealt:
            return states
        num_tokens = states[0].shape[1]
        parts = self._parts(self.length - num_tokens, num_tokens)
        here = [part.tokens for part in parts if self._memory_of(part.index).is_here]
        keys, values = (torch.cat([x[:, :0], *(x[:, tokens] for tokens in here)], 1) for x in states)
        return keys, values

    def unheld(self, states: States, num_tokens: int) -> States:
        """What is `held` of the next `num_tokens` tokens, with zeros in the place of the others."""
        if not self._dealt:
            return states
        whole = tuple(x.new_zeros((x.shape[0], num_tokens, x.shape[2])) for x in states)
        skip = 0
        for part in self._parts(self.length, num_tokens):
            if self._memory_of(part.index).is_here:
                for mine, given in zip(whole, states, strict=True):
                    mine[:, part.tokens] = given[:, skip : skip + part.num_tokens]
                skip += part.num_tokens
        return whole[0], whole[1]

    def skip(self, num_tokens: int) -> None:
        """Go on without tokens that nobody will see again; raises ValueError unless tokens may be gone."""
        if self.reach is None:
            raise ValueError("this layer sees every token; none can be skipped")
        self.length += num_tokens
        self._gap, self._first, self._blocks = self.length, self.length // self._block_tokens, []

    def crop(self, length: int) -> None:
        """Take back the tokens from `length` on; only those of the last `append` can be taken back."""
        keep = max(0, -(-length // self._block_tokens) - self._first)
        del self._blocks[keep:]
        self.length = length

    def views(self, stop: int) -> list[BlockView]:
        """The tokens before position `stop` that a token there may see and that are here, in order."""
        first = max(self._gap, 0 if self.reach is None else stop - self.reach)
        found = []
        for index, block in enumerate(self._blocks, self._first):
            begin = index * self._block_tokens
            start, end = max(begin, first), min(begin + self._block_tokens, stop)
            if start < end and block.is_here:
                found.append(BlockView(block, start, start - begin, end - start))
        return found

    def _drop_unseen(self) -> None:
        """Let go of blocks that no token from here on sees."""
        if self.reach is None:
            return
        first_seen = max(0, self.length - self.reach) // self._block_tokens
        if first_seen > self._first:
            del self._blocks[: first_seen - self._first]
            self._first = first_seen


def _first_pieces(pieces: list[Piece], num_tokens: int) -> list[Piece]:
    """The pieces of the first tokens of a block."""
    found: list[Piece] = []
    for piece in pieces:
        count = min(piece.num_tokens, num_tokens)
        if count > 0:
            found.append(Piece(piece.chunk, piece.layer, piece.skip, count))
        num_tokens -= count
    return found
