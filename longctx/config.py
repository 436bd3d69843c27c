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
from urllib.parse import urlsplit

from longctx.errors import ConfigError, UnknownNameError
from longctx.lengths import parse_length, parse_lengths
from longctx.records import Design

DEFAULT_MODEL = "smollm2-135m-instruct"
ADAPTIVE_TRIALS = 20
"""The most a length gets in an adaptive sweep, if nothing else is said."""
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
PARALLEL = ("documents", "tensor")
_CHOICES = {
    "design": ("isolated", "packed"),
    "template": ("auto", "chat", "plain", "message"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "attention": ("auto", "fa4", "fa3", "fa2", "cudnn", "flash", "reference"),
    "rope": ("model", "float64"),
    "rule": ("ruler", "nolima"),
    "backend": ("hf", "openai"),
    "api": ("chat", "completions", "tokens"),
    "canaries": ("auto", "yes", "no"),
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
    backend: str = "hf"
    """hf: a transformers model in this process; openai: a server that speaks OpenAI's protocol."""
    base_url: str = ""
    """Of the server: http://localhost:8000/v1."""
    api: str = "chat"
    """What is sent to it: a chat message, a completion's text, or a completion's token ids."""
    tokenizer: str = ""
    """Of the served model: anything that `model` may be, or a tiktoken encoding; empty: `model` names it."""
    window: int = 0
    """Advertised by the served model, in tokens; 0: what the tokenizer's config or the server says."""
    thinking_tokens: int = 0
    """Room for reasoning before the answer, a part of the context length."""
    count_tolerance: float = 0.0
    """Share by which a server may count otherwise than the tokenizer before that is called a cut."""
    canaries: str = "auto"
    """Whether first, middle and last tokens of every length are asked for first; auto: of a server."""

    def __post_init__(self) -> None:
        for name, legal in _CHOICES.items():
            if getattr(self, name) not in legal:
                raise UnknownNameError(name, getattr(self, name), legal)
        for name, least in (("trials", 1), ("chunk", 0), ("batch_tokens", 1), ("window", 0), ("thinking_tokens", 0)):
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
        if not 0.0 <= self.count_tolerance < 1.0:
            raise ConfigError(f"count_tolerance is {self.count_tolerance}; it must be 0.0 to less than 1.0.")
        if self.backend == "openai":
            check_base_url(self.base_url)
        elif self.base_url:
            raise ConfigError("A base URL is for servers: add --backend openai.")

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


def check_base_url(url: str) -> None:
    """Raise ConfigError unless `url` is http(s) with a host, and holds no user, password or query."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url.split('@')[-1]!r} is not a base URL: write http://localhost:8000/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError("A base URL holds no user, password, query or fragment; keys go by --api-key-env.")


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
    if name == "window" and isinstance(value, str):
        value = parse_length(value)
    if name == "count_tolerance" and type(value) is int:
        value = float(value)
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
