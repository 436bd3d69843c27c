"""Finished runs as sides of a comparison: their answers to the same questions, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from longctx.compare.judge import Side
from longctx.compare.records import Said, Taken
from longctx.errors import ConfigError
from longctx.records import Row
from longctx.store import read_manifest, read_rows

_Address = tuple[str, int, float, int, tuple[str, ...]]


def _address(row: Row) -> _Address:
    """What makes two rows the same question, whatever tokenizer or template it was asked in."""
    return (row.task, row.length, row.depth, row.trial, row.targets)


def read_sides(folder_a: Path, folder_b: Path) -> tuple[Side, Side]:
    """Both runs' answers to the questions that both were asked; raises StoreError or ConfigError if there are none."""
    rows_a, rows_b = (_by_address(read_rows(folder)) for folder in (folder_a, folder_b))
    shared = [address for address in rows_a if address in rows_b]
    if not shared:
        raise ConfigError(f"{folder_a} and {folder_b} were asked no question in common.")
    sides = []
    for folder, rows in ((folder_a, rows_a), (folder_b, rows_b)):
        taken = [_taken(str(address), rows[address]) for address in shared]
        sides.append(Side(str(folder), read_manifest(folder)["model"], taken))
    return sides[0], sides[1]


def _by_address(rows: Iterable[Row]) -> dict[_Address, Row]:
    return {_address(row): row for row in rows if row.control is None}


def _taken(probe: str, row: Row) -> Taken:
    said = Said(row.status, row.answer)
    return Taken(probe, row.length, row.score, said, said, ())
