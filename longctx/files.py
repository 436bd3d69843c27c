"""Files written whole or not at all; the cache folder; digests of files that take long to read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, flushed to disk, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def cache_folder() -> Path:
    """$LONGCTX_CACHE, or the platform's cache folder for longctx."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("LONGCTX_CACHE") or user_cache_path("longctx"))


def file_digest(file: Path) -> str:
    """SHA-256 of a file, in hex; kept in the cache folder by path, size and time of change."""
    stat = file.stat()
    key = hashlib.sha256(f"{os.path.realpath(file)}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()
    kept = cache_folder() / "digests" / key
    try:
        return kept.read_text(encoding="ascii")
    except FileNotFoundError:
        pass
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, found.encode("ascii"))
    except OSError:
        return found  # a full or read-only cache costs time, nothing else
    return found
