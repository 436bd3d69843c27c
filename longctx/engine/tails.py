"""The tokens of questions: where they stand, and their keys and values, a row for each question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from longctx.engine.disk import States


@dataclass(frozen=True, slots=True)
class Positions:
    """Where the tokens of tails stand: rows of different lengths, with gaps where guesses were taken back."""

    positions: torch.Tensor
    """(rows, columns)"""
    valid: torch.Tensor
    """(rows, columns), False for padding and for what was taken back."""

    first: int = 0
    """The lowest of the positions."""
    in_step: bool = True
    """Whether all rows stand at the same positions, one after the other from the first on."""

    @classmethod
    def of(cls, positions: torch.Tensor, valid: torch.Tensor) -> Positions:
        """Tokens at `positions` (rows, columns), both tensors in host memory."""
        if not positions.numel():
            return cls(positions, valid)
        first = int(positions.min())
        in_step = bool((positions == torch.arange(first, first + positions.shape[1])).all())
        return cls(positions, valid, first, in_step)

    @classmethod
    def none(cls, num_rows: int) -> Positions:
        """Rows without tokens."""
        return cls.of(torch.zeros(num_rows, 0, dtype=torch.long), torch.zeros(num_rows, 0, dtype=torch.bool))

    def append(self, positions: torch.Tensor, valid: torch.Tensor) -> Positions:
        return Positions.of(torch.cat([self.positions, positions], 1), torch.cat([self.valid, valid], 1))

    def rows(self, rows: Sequence[int]) -> Positions:
        """Some rows."""
        return Positions.of(self.positions[list(rows)], self.valid[list(rows)])

    def to(self, device: torch.device) -> Positions:
        return Positions(self.positions.to(device), self.valid.to(device), self.first, self.in_step)

    @property
    def num_columns(self) -> int:
        return self.positions.shape[1]


class Tail:
    """Keys and values (rows, kv_heads, columns, dim) of one layer, on the device."""

    def __init__(self, states: States | None = None) -> None:
        self.states = states

    def append(self, states: States) -> None:
        if self.states is None:
            self.states = states
        else:
            keys, values = (torch.cat([old, new], 2) for old, new in zip(self.states, states, strict=True))
            self.states = keys, values

    def rows(self, rows: Sequence[int]) -> Tail:
        """Some rows."""
        if self.states is None:
            return Tail()
        keys, values = (states[list(rows)] for states in self.states)
        return Tail((keys, values))
