"""What a sweep was asked to do: one frozen record, from defaults, a TOML file and flags, in that order."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longctx.errors import ConfigError, UnknownNameError
from longctx.lengths import parse_lengths
from longctx.records import Design

DEFAULT_MODEL = "smollm2-135m-instruct"
ADAPTIVE_TRIALS = 20
"""The most a length gets in an adaptive sweep, if nothing else is said."""
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
PARALLEL = ("documents", "tensor")
_CHOICES = {
    "design": ("isolated", "packed"),
    "template": ("auto", "chat", "plain"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "attention": ("auto", "fa4", "fa3", "fa2", "cudnn", "flash", "reference"),
    "rope": ("model", "float64"),
    "rule": ("ruler", "nolima"),
}


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """Everything that decides what is measured. Raises ConfigError for a value that is not legal."""

    model: str = DEFAULT_MODEL
    """An alias of an installed package, a local folder, a hub name, or a .gguf file."""
    task: tuple[str, ...] = ("niah_single",)
    """Task names, each with its options: niah_single:digits=5."""
    lengths: tuple[int, ...] = ()
    """Context lengths in tokens; empty stands for 1k, doubling up to the advertised window, and one past it."""
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    trials: int = 3
    design: Design = "isolated"
    seed: int = 0
    haystack: str = "narrator"
    template: str = "auto"
    """chat, plain, or auto: chat where the tokenizer has a chat template."""
    dtype: str = "auto"
    """auto: bfloat16 where the hardware multiplies it, else float32."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    attention: str = "auto"
    """The kernel for attention; auto takes the fastest that is installed and passes its test."""
    rope: str = "model"
    """float64 computes rotary angles in that precision; transformers' own are in float32, noisy beyond 1M tokens."""
    chunk: int = 0
    """Prefill chunk in tokens; 0 chooses."""
    batch_tokens: int = 8192
    """Most tokens of questions about one document that are read in one batch."""
    beyond_window: bool = False
    allow_repeats: bool = False
    """Let a haystack that is too short say the same again; the report prints how much of it is repeated."""
    controls: bool = True
    """Ask every question without the haystack too, and after its supporting text alone."""
    adaptive: bool = False
    """Ask where it tells most about the effective length, not everywhere; `trials` is then the most a length gets."""
    rule: str = "ruler"
    """The rule of the effective length that an adaptive sweep looks for."""
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name, legal in _CHOICES.items():
            if getattr(self, name) not in legal:
                raise UnknownNameError(name, getattr(self, name), legal)
        for name, least in (("trials", 1), ("chunk", 0), ("batch_tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if any(not 0.0 <= depth <= 1.0 for depth in self.depths) or not self.depths:
            raise ConfigError(f"depths are {self.depths}; each must lie between 0.0 and 1.0.")
        if not self.task:
            raise ConfigError("No task was named.")
        if self.adaptive and len(self.task) > 1:
            raise ConfigError(f"An adaptive sweep has one task, not {', '.join(self.task)}.")
        if self.rule != "ruler" and not self.adaptive:
            raise ConfigError(f"rule is {self.rule!r}; it belongs to an adaptive sweep, reports show all rules.")
        for name in ("task", "depths"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ConfigError(f"{name} names a value twice: {getattr(self, name)}.")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Eight hex digits that change with any field."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class KvBudget:
    """Where keys and values may live. It decides whether and how fast a sweep runs, not what it measures."""

    device_bytes: int | None = None
    """On the device of the compute; None for what is free there."""
    host_bytes: int | None = None
    """In host memory, beside a GPU; None for what is free there."""
    disk: Path | None = None
    """A folder on a fast disk: the lowest tier, and what a killed run goes on from."""
    owner: str = ""
    """Of the files there: no other run or part of one finds them."""
    block_tokens: int | None = None
    """In a block; None for what suits the device."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Over which devices and processes a model goes. Raises UnknownNameError for a value that is not legal."""

    device_map: str | None = None
    """How accelerate spreads whole layers over the GPUs of this process; None for one device."""
    parallel: str = "documents"
    """What the processes that a launcher starts share: documents, each whole in one of them, or one model's tensors."""

    def __post_init__(self) -> None:
        if self.device_map is not None and self.device_map not in DEVICE_MAPS:
            raise UnknownNameError("device map", self.device_map, DEVICE_MAPS)
        if self.parallel not in PARALLEL:
            raise UnknownNameError("parallel", self.parallel, PARALLEL)
        if self.device_map is not None and self.parallel == "tensor":
            raise ConfigError("--device-map and --parallel tensor cannot be combined: a rank has one device.")


def parse_depths(text: str) -> tuple[float, ...]:
    """`5` gives five even depths from 0 to 1; `0,0.5,1` gives those. Raises ConfigError."""
    try:
        if "," in text or "." in text:
            return tuple(sorted(float(part) for part in text.split(",")))
        count = int(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not depths: write a count such as 5, or a list such as 0,0.5,1.") from None
    if count < 1:
        raise ConfigError(f"{text!r} is not depths: at least one is needed.")
    return tuple(i / (count - 1) for i in range(count)) if count > 1 else (0.5,)


def _convert(name: str, value: Any) -> Any:
    """A value from a file or a flag as the field's type; lists may be lists or text with commas."""
    if name in ("lengths", "depths", "task"):
        if isinstance(value, list):
            value = ",".join(map(str, value))
        text = str(value)
        parsers = {"lengths": parse_lengths, "depths": parse_depths, "task": _parse_tasks}
        return parsers[name](text)
    if name == "chunk" and isinstance(value, str):
        if not value.isdigit() and value != "auto":
            raise ConfigError(f"chunk is {value!r}; write a number of tokens, or auto.")
        value = int(value) if value.isdigit() else 0
    wanted = type(getattr(SweepConfig(), name))
    if type(value) is not wanted:
        raise ConfigError(f"{name} is {value!r}; it must be of type {wanted.__name__}.")
    return value


def _parse_tasks(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def resolve_config(file: Path | None, flags: Mapping[str, Any]) -> SweepConfig:
    """The defaults, overridden by a TOML file, overridden by flags that are not None.

    Raises ConfigError for a file that cannot be read, an unknown key or an illegal value.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"Cannot read the config file {file}: {error}") from error
    values |= {name: value for name, value in flags.items() if value is not None}
    legal = [field.name for field in dataclasses.fields(SweepConfig)]
    for name in values:
        if name not in legal:
            raise UnknownNameError("config key", name, legal)
    if values.get("adaptive") is True:
        values = {"trials": ADAPTIVE_TRIALS} | values
    return SweepConfig(**{name: _convert(name, value) for name, value in values.items()})
