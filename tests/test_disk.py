"""Chunk files: whole or refused, and gone when nobody needs them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from longctx.engine.disk import DiskStore, States
from longctx.engine.memory import NoSpaceError


def some_states(seed: int = 0) -> States:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, 4, generator=generator), torch.randn(2, 5, 3, generator=generator)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, "model")
    chunk = store.write("one", {3: some_states(), 7: some_states(1)})
    for layer, wanted in ((3, some_states()), (7, some_states(1))):
        assert all(torch.equal(a, b) for a, b in zip(chunk.read(layer), wanted, strict=True))
    assert store.is_whole("one")
    assert not store.is_whole("two")


def test_a_damaged_or_foreign_file_is_refused_and_removed(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, "model")
    kept = [store.write(name, {0: some_states()}) for name in ("flipped", "cut", "renamed")]
    flipped, cut, renamed = (chunk.path for chunk in kept)
    data = bytearray(flipped.read_bytes())
    data[-3] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-4])
    renamed.rename(store.path("other"))
    store.path("text").write_text("not safetensors")
    for name in ("flipped", "cut", "other", "text"):
        assert not store.is_whole(name)
        assert not store.path(name).exists()


def test_another_model_finds_nothing(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, "model in float32")
    kept = store.write("one", {0: some_states()})
    assert not DiskStore(tmp_path, "model in bfloat16").is_whole("one")
    assert kept.path.exists()


def test_files_go_with_their_chunks_unless_they_are_kept(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, "model")
    chunk = store.write("one", {0: some_states()})
    path = chunk.path
    del chunk
    assert not path.exists()
    chunk = store.write("two", {0: some_states()})
    path = chunk.path
    store.keep_files()
    del chunk
    store.close()
    assert path.exists()
    again = DiskStore(tmp_path, "model")
    assert again.is_whole("two")
    again.clear()
    assert not again.is_whole("two")
    again.close()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(tmp_path, "model")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(NoSpaceError, match="10 bytes free"):
        store.write("one", {0: some_states()})
    assert not list(tmp_path.rglob("*.safetensors*"))


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(tmp_path, "model")

    def half(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("longctx.engine.disk.save_file", half)
    with pytest.raises(NoSpaceError, match="No space left on device"):
        store.write("one", {0: some_states()})
    assert not list(tmp_path.rglob("*.kv.*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(NoSpaceError, match="cannot keep keys and values in"):
        DiskStore(tmp_path / "file", "model")
