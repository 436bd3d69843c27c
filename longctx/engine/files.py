"""A model's files: whole or not, and which weights they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from longctx.errors import ModelError
from longctx.files import file_digest


def check_safetensors(path: Path) -> None:
    """Raise ModelError unless the file is as long as its header says.

    Layout: 8 bytes with the header's length, a JSON header with the tensors' byte ranges, the tensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if header_size > size - 8:
            raise ModelError(f"{path} is truncated or not safetensors: {size:,} bytes.")
        try:
            header = json.loads(file.read(header_size))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} has no readable safetensors header: {error}") from error
    wanted = 8 + header_size + max(ends, default=0)
    if size != wanted:
        raise ModelError(f"{path} is damaged: it has {size:,} bytes, its header says {wanted:,}.")


def _indexed_files(index: Path) -> list[Path]:
    """The shards that a model's index names; raises ModelError for one that is missing."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{index} is not an index of safetensors files: {error}") from error
    for name in names:
        if not (index.parent / name).is_file():
            raise ModelError(f"{index.parent} lacks {name}, which its index names.")
    return [index.parent / name for name in names]


def weight_files(folder: Path) -> list[Path]:
    """The model's safetensors files, each checked; raises ModelError if there are none or one is damaged."""
    index = folder / "model.safetensors.index.json"
    files = _indexed_files(index) if index.exists() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no .safetensors file; other weight formats can run code and are not read.")
    for file in files:
        check_safetensors(file)
    return files


def weights_digest(files: list[Path]) -> str:
    """SHA-256 over the files' digests, sixteen hex digits of it."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file_digest(file).encode())
    return digest.hexdigest()[:16]
