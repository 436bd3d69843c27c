"""Files to documents: .txt and .md (one document), .jsonl (one a line), .parquet (one a row).

Whatever cannot be read as it was asked for is refused with the file's name and the place in it, never skipped.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longctx.errors import ConfigError

Document = Iterable[str]
"""A text in pieces, each of which ends where a line does."""

RECORDS = (".jsonl", ".parquet")
SUFFIXES = (".txt", ".md", *RECORDS)
"""What is taken from a folder; a file of any other name is read as text if it was asked for itself."""

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the text is in files of records."""

    field: str = "text"
    """Of .jsonl."""
    column: str = "text"
    """Of .parquet."""


def read_documents(path: Path, keys: Keys) -> Iterator[Document]:
    """The documents of a file, in order; raises ConfigError, at the latest while they are read."""
    if path.suffix == ".jsonl":
        yield from _read_jsonl(path, keys.field)
    elif path.suffix == ".parquet":
        yield from _read_parquet(path, keys.column)
    else:
        yield _read_text(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raise ConfigError with the file's name where the system does not let it be read."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error


def _read_text(path: Path) -> Iterator[str]:
    """In blocks of whole lines, so that a file of any size takes little memory."""
    offset = 0
    with naming(path), path.open("rb") as file:
        while lines := file.readlines(_BLOCK_BYTES):
            block = b"".join(lines)
            yield _decode(block, path, offset)
            offset += len(block)


def _decode(data: bytes, path: Path, offset: int) -> str:
    """`data`, which begins at byte `offset` of the file, as text."""
    if (nul := data.find(b"\0")) >= 0:
        raise ConfigError(f"{path} is a binary file: byte {offset + nul:,} is NUL. Give text files in UTF-8.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = offset + error.start
        raise ConfigError(f"{path} is not UTF-8: byte {place:,} is 0x{data[error.start]:02x}.") from error


def _read_jsonl(path: Path, field: str) -> Iterator[Document]:
    offset = 0
    with naming(path), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = _decode(line, path, offset).removeprefix("\ufeff")
            offset += len(line)
            if text.strip():
                yield [_field(text, field, f"{path}, line {number:,}")]


def _field(line: str, field: str, place: str) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{place} is not JSON: {error}.") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{place} is {type(record).__name__}, not an object with the field {field!r}.")
    if field not in record:
        there = ", ".join(sorted(record)) or "none"
        raise ConfigError(f"{place} has no field {field!r}; it has: {there}. Choose one with ?field=NAME.")
    if not isinstance(record[field], str):
        raise ConfigError(f"{place}: the field {field!r} is {type(record[field]).__name__}, not text.")
    return str(record[field])


def _read_parquet(path: Path, column: str) -> Iterator[Document]:
    parquet = _load_parquet(path)
    try:
        with naming(path), parquet.ParquetFile(path) as file:
            there = file.schema_arrow.names
            if column not in there:
                listed = ", ".join(there) or "none"
                raise ConfigError(f"{path} has no column {column!r}; it has: {listed}. Choose one with ?column=NAME.")
            for batch in file.iter_batches(batch_size=1024, columns=[column]):
                for value in batch.column(0).to_pylist():
                    if value is None:
                        continue
                    if not isinstance(value, str):
                        raise ConfigError(f"{path}: the column {column!r} holds {type(value).__name__}, not text.")
                    yield [value]
    except ValueError as error:  # pyarrow's ArrowInvalid is one
        raise ConfigError(f"{path} is not a Parquet file that can be read: {error}.") from error


def _load_parquet(path: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise ConfigError(f"Reading {path} needs pyarrow: pip install pyarrow.") from error
