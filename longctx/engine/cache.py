"""The cache folder: converted models, and digests of files that take long to read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from longctx.store import write_atomically


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
