"""A run folder: manifest.json says what was asked for, rows.jsonl holds what is finished.

Processes that share a run each have a rows file of their own, rows-1-of-4.jsonl; all are read together.
A rows file is append-only. A row counts once its line ends in a newline; a torn last line, left by a
killed process, is skipped on reading and cut off before the next append. A sample that failed and
was tried again has two rows; the later one counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from longctx.errors import StoreError
from longctx.files import write_atomically
from longctx.records import Row

# History of the format: 1, first.
SCHEMA_VERSION = 1

Line = TypeVar("Line")


def _complete_lines(content: bytes) -> list[bytes]:
    """The lines that end in a newline; what follows the last one was torn off by a kill."""
    return content.split(b"\n")[:-1]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest; raises StoreError if there is none or it is not one of ours."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{folder} is not a run folder: it has no manifest.json.") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"Cannot read {path}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        raise StoreError(f"{path} is not a manifest of schema version {SCHEMA_VERSION}.")
    return manifest


def _rows_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("rows*.jsonl"))


def read_rows(folder: Path) -> list[Row]:
    """The latest row of every sample, in order of first appearance; raises StoreError for a damaged line.

    Of rows in the files of several processes, one without a failure counts.
    """
    rows: dict[str, Row] = {}
    for path in _rows_files(folder):
        for row in read_lines(path, Row.from_json):
            if row.status == "ok" or rows.get(row.sample_id, row).status != "ok":
                rows[row.sample_id] = row
    return list(rows.values())


def read_lines(path: Path, from_json: Callable[[Any], Line]) -> Iterator[Line]:
    """What `from_json` makes of every whole line of a file; raises StoreError for a damaged one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error}") from error
    for number, line in enumerate(_complete_lines(content), start=1):
        try:
            yield from_json(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path}, line {number}, is not a row: {error}") from error


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """`path: old -> new` for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path}: {json.dumps(old)} -> {json.dumps(new)}"


def ids_digest(ids: Iterable[str]) -> str:
    """Hash of prompts by their ids, in any order: for an identity that changes when the same config gives others."""
    return hashlib.sha256(" ".join(sorted(ids)).encode()).hexdigest()[:16]


def check_identity(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Raise StoreError, naming every difference, if `folder` holds a run that is not the `wanted` one.

    `wanted` gives some or all of a run's identity.
    """
    if not (folder / "manifest.json").exists():
        if any(path.stat().st_size for path in _rows_files(folder)):
            raise StoreError(f"{folder} has rows but no manifest.json; choose another --out.")
        return
    manifest = read_manifest(folder)
    # Through JSON, so that tuples and lists compare alike.
    same_keys = json.loads(json.dumps(wanted))
    if changes := list(_differences({key: manifest.get(key) for key in same_keys}, same_keys)):
        raise StoreError(
            f"{folder} holds another run. What differs: {'; '.join(changes)}. "
            "Choose another --out, or ask for the same run."
        )


class RunFolder:
    """A run folder with a rows file held open for writing, by this process alone. A context manager."""

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], start: Mapping[str, Any], rows_name: str = "rows.jsonl"
    ) -> None:
        """Open or create `folder` for a run of `identity`, and note this `start` in its manifest.

        Raises StoreError if it belongs to another run, is in use, or cannot be written.
        """
        self.folder = folder
        self._path = folder / rows_name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab")  # noqa: SIM115 - closed in __exit__
        except OSError as error:
            raise StoreError(f"Cannot write to the out folder {folder}: {error}") from error
        try:
            self._lock()
            with self._manifest_held():
                self._record_start(dict(identity), dict(start))
            self._cut_torn_line()
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{self._path} is in use by another longctx process.") from None

    @contextlib.contextmanager
    def _manifest_held(self) -> Iterator[None]:
        """One process at a time reads and writes the manifest."""
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _record_start(self, identity: dict[str, Any], start: dict[str, Any]) -> None:
        check_identity(self.folder, identity)
        known = read_manifest(self.folder) if (self.folder / "manifest.json").exists() else {}
        kept: dict[str, Any] = {key: known[key] for key in ("ends", "spent") if key in known}
        starts = [*known.get("starts", []), start]
        self._write_manifest({"schema_version": SCHEMA_VERSION, **identity, "starts": starts, **kept})

    def record_end(self, end: Mapping[str, Any]) -> None:
        """Note in the manifest what this start took, now that all its samples have rows; raises StoreError."""
        self._add_to_manifest("ends", end)

    def record_spent(self, spent: Mapping[str, Any]) -> None:
        """Note in the manifest what a server was asked in this start and charges for it; raises StoreError."""
        self._add_to_manifest("spent", spent)

    def _add_to_manifest(self, key: str, entry: Mapping[str, Any]) -> None:
        with self._manifest_held():
            manifest = read_manifest(self.folder)
            self._write_manifest({**manifest, key: [*manifest.get(key, []), dict(entry)]})

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        try:
            content = json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"
            write_atomically(self.folder / "manifest.json", content)
        except OSError as error:
            raise StoreError(f"Cannot write the manifest in {self.folder}: {error}. No row was lost.") from error

    def _cut_torn_line(self) -> None:
        content = self._path.read_bytes()
        whole = sum(len(line) + 1 for line in _complete_lines(content))
        if whole < len(content):
            os.truncate(self._path, whole)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # what could not be flushed was already reported by append
            self._file.close()

    def append(self, row: Row) -> None:
        """Add one row and hand it to the operating system; raises StoreError when the disk is full."""
        self.append_line(row.to_json())

    def append_line(self, values: Mapping[str, Any]) -> None:
        """The same for what is no row of a sweep."""
        # Half a surrogate pair, which a server may send, is kept as it is.
        line = json.dumps(values, ensure_ascii=False, allow_nan=False).encode(errors="surrogatepass") + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise StoreError(
                f"Cannot write to {self._path}: {error.strerror}. Rows already finished are safe; "
                "make room and run the same command again."
            ) from error
