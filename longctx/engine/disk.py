"""Chunks of keys and values in files: the lowest tier, and what a killed run goes on from.

A chunk is all layers' new keys and values of one forward over the document, named by a hash of all that decides
them: the model, the chunk size and every token up to its end. A file is deleted with the last block that refers
to it. What a killed run leaves behind is taken up by the next run over the same prompts, after a look at its checksums.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import weakref
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from longctx.engine.memory import NoSpaceError

States: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one layer, (kv_heads, num_tokens, dim)."""

_SUFFIX = ".kv.safetensors"
# What stays free on the disk, for everything else that writes there.
_RESERVE_BYTES = 64 << 20


def _checksum(states: torch.Tensor) -> str:
    return f"{zlib.crc32(states.contiguous().view(torch.uint8).numpy().data):08x}"


class DiskChunk:
    """A file of some layers' keys and values. It lives as long as this object, unless its store keeps its files."""

    def __init__(self, store: DiskStore, name: str) -> None:
        self.path = store.path(name)
        weakref.finalize(self, store.forget, self.path).atexit = False

    def read(self, layer: int) -> States:
        """Keys and values of one layer, in host memory."""
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(f"{layer}.keys"), file.get_tensor(f"{layer}.values")


class DiskStore:
    """The files of one run."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """`fingerprint` names model, dtype, kernels and packages: other ones' files are never found here.

        Raises NoSpaceError if the folder cannot be made.
        """
        self._folder = folder / hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        self._keep = False
        self._lock = threading.Lock()  # workers write at the same time
        self.num_bytes_written = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NoSpaceError(f"cannot keep keys and values in {folder}: {error}") from error

    def path(self, name: str) -> Path:
        """Where the chunk of this name is, or would be."""
        return self._folder / (name + _SUFFIX)

    def write(self, name: str, layers: Mapping[int, States]) -> DiskChunk:
        """Keep a chunk: whole or not at all. Raises NoSpaceError where the disk is full or cannot be written."""
        tensors = {}
        for layer, states in layers.items():
            for kind, tensor in zip(("keys", "values"), states, strict=True):
                tensors[f"{layer}.{kind}"] = tensor.contiguous()
        wanted = sum(tensor.nbytes for tensor in tensors.values()) + _RESERVE_BYTES
        path = self.path(name)
        unfinished = path.with_suffix(".unfinished")
        try:
            free = shutil.disk_usage(self._folder).free
            if free < wanted:
                raise NoSpaceError(f"{self._folder} has {free:,} bytes free, {wanted:,} are needed for a chunk")
            checksums = {key: _checksum(tensor) for key, tensor in tensors.items()}
            save_file(tensors, unfinished, metadata={"name": name, **checksums})
            unfinished.replace(path)
        except (OSError, SafetensorError) as error:
            unfinished.unlink(missing_ok=True)
            raise NoSpaceError(f"cannot write {path}: {error}") from error
        with self._lock:
            self.num_bytes_written += wanted - _RESERVE_BYTES
        return DiskChunk(self, name)

    def is_whole(self, name: str) -> bool:
        """Whether the chunk is there and as it was written; one that is not is deleted."""
        path = self.path(name)
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as file:
                sums = file.metadata() or {}
                whole = sums.pop("name", "") == name and set(sums) == set(file.keys())
                whole = whole and all(_checksum(file.get_tensor(key)) == sums[key] for key in sums)
        except (OSError, SafetensorError):
            whole = False
        if not whole:
            path.unlink(missing_ok=True)
        return whole

    def forget(self, path: Path) -> None:
        """Delete a file that no block refers to any more."""
        if not self._keep:
            path.unlink(missing_ok=True)

    def keep_files(self) -> None:
        """From now on delete nothing: another run will go on from here."""
        self._keep = True

    def clear(self) -> None:
        """Delete all files of this run's fingerprint."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Delete what is left, and the folder, unless the files are kept."""
        if not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)
