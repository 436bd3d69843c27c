"""Where a model comes from: an alias of an installed package, a local folder, a .gguf file, or a hub name.

A GGUF file is turned into safetensors once, in a cache folder, so that later starts take seconds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longctx.engine.packaged import PACKAGED, packaged_file
from longctx.errors import ModelError, UnknownNameError
from longctx.files import cache_folder, file_digest

# Part of the cache key: raise it when the conversion changes.
_CONVERSION = 1


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What transformers' from_pretrained takes."""

    name: str
    path: str
    """A folder or a hub name."""
    gguf_file: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        return {"gguf_file": self.gguf_file} if self.gguf_file else {}


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars or advice from transformers while it loads or saves."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Let transformers load without torch, for a process that needs a tokenizer alone: seconds and 200 MB less.

    Where either is loaded already, nothing is changed; afterwards transformers loads no models in this process.
    """
    if "torch" in sys.modules or "transformers" in sys.modules:
        yield
        return
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    sys.modules["torch"] = None  # type: ignore[assignment]  # importlib then takes it for not installed
    try:
        yield
    finally:
        del sys.modules["torch"]


def find_source(name: str) -> ModelSource:
    """Where the model `name` is, without reading it; raises ModelError or UnknownNameError."""
    if name in PACKAGED:
        file = packaged_file(name)
        return ModelSource(name, str(file.parent), file.name)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(f"The model folder {path} has no config.json.")
        return ModelSource(path.resolve().name, str(path))
    if name.endswith(".gguf"):
        if not path.is_file():
            raise ModelError(f"There is no file {path}.")
        return ModelSource(path.stem, str(path.parent), path.name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return ModelSource(name, name)
    raise UnknownNameError(
        "model (not an alias, a local folder, a .gguf file, or an owner/name on the hub)", name, PACKAGED
    )


def converted_folder(source: ModelSource) -> Path:
    """The cache folder of a GGUF source; it exists once the file was converted."""
    if source.gguf_file is None:
        raise ValueError(f"{source.name} is not a GGUF file")
    digest = file_digest(Path(source.path, source.gguf_file))
    return cache_folder() / "models" / f"{source.name}-{digest[:16]}-v{_CONVERSION}"


def if_converted(source: ModelSource) -> ModelSource:
    """The converted model if there is one by now, else the source as it is."""
    if source.gguf_file is None or not converted_folder(source).exists():
        return source
    return ModelSource(source.name, str(converted_folder(source)))


def prepare(source: ModelSource) -> ModelSource:
    """The same model as safetensors: a GGUF file is converted, in float32, if it was not yet, by one process alone.

    Raises ModelError for a file that transformers cannot read, or no room for the result.
    """
    if source.gguf_file is None:
        return source
    folder = converted_folder(source)
    if not folder.exists():
        with _alone(folder):
            if not folder.exists():
                print(f"Converting {source.gguf_file} to safetensors, once, into {folder}", file=sys.stderr)
                _convert(source, folder)
    return if_converted(source)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The processes of one launch all want the same folder: the others wait for the first."""
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            yield
    except OSError as error:
        raise ModelError(f"Cannot write into {folder.parent}: {error}") from error


def _convert(source: ModelSource, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    unfinished: Path | None = None
    try:
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source.path, **source.arguments)
            model = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32, **source.arguments)
            # What is saved is no longer quantised, and transformers refuses to save it while it says so.
            with contextlib.suppress(AttributeError):
                del model.config.quantization_config
            model.hf_quantizer = None
            model.save_pretrained(unfinished)
            tokenizer.save_pretrained(unfinished)
        os.replace(unfinished, folder)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as error:
        raise ModelError(f"Cannot convert {source.gguf_file} into {folder.parent}: {error}") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
