"""Where a run took place: code, packages, hardware. Nothing here imports torch unless it is loaded already."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import longctx

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "gguf",
    "flash-attn",
    "flash-attn-3",
    "flash-attn-4",
)


def utc_now() -> str:
    """The time in ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(*arguments: str) -> str | None:
    root = Path(longctx.__file__).parent.parent
    if not (root / ".git").exists():
        return None  # an installed wheel, not a checkout
    try:
        result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def code_version() -> dict[str, Any]:
    """Version, commit and whether the checkout differed from it; commit is None outside a checkout."""
    status = _git("status", "--porcelain")
    return {
        "version": longctx.__version__,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
    }


def packages() -> dict[str, str]:
    """Versions of the packages that can change a result, and of Python."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpuinfo(key: str) -> str:
    """The first processor's entry in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def cpu_flags() -> set[str]:
    """Instruction sets that the processor announces, as Linux names them."""
    return set(_cpuinfo("flags").split())


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_processes_here(environment: Mapping[str, str] = os.environ) -> int:
    """Processes that a launcher started on this machine, this one among them: they share its memory and cores."""
    return int(environment.get("LOCAL_WORLD_SIZE", "1"))


def memory_bytes() -> int:
    """Physical memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Memory that can be had without swapping; the whole of it where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return memory_bytes()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), memory_bytes())


def hardware() -> dict[str, Any]:
    """Processor, cores, memory, and the GPUs if torch is loaded and sees any."""
    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "cpu": _cpuinfo("model name") or platform.processor(),
        "num_cores": num_cores(),
        "memory_bytes": memory_bytes(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts


def describe_start(checks: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says about one start of a run; `checks` are the backend's of itself."""
    return {
        "started": utc_now(),
        "code": code_version(),
        "packages": packages(),
        "hardware": hardware(),
        "checks": dict(checks),
    }
