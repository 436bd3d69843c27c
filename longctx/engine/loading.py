"""From a source to a loaded model, with everything that identifies it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longctx.documents.tokenizer import HubTokenizer
from longctx.engine.cost import ModelShape
from longctx.engine.files import weight_files, weights_digest
from longctx.engine.sources import ModelSource, quiet_transformers
from longctx.environment import cpu_flags
from longctx.errors import ModelError
from longctx.files import file_digest

if TYPE_CHECKING:
    from longctx.config import Layout
    from longctx.engine.kernels import Kernel
    from longctx.engine.ranks import Ranks
    from longctx.engine.tiers import Holders


@contextlib.contextmanager
def _as_model_error(source: ModelSource) -> Iterator[None]:
    """Turn what transformers raises for files it cannot use into a ModelError."""
    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            yield
    except (OSError, ValueError, KeyError, AttributeError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"Cannot load {source.name} from {source.path}: {reason}") from error


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """What a model's config alone says."""

    config: Any
    """transformers' config of the text model."""
    window: int
    """Advertised context window in tokens: max_position_embeddings."""
    shape: ModelShape


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model before its weights are loaded."""

    source: ModelSource
    config: Any
    """transformers' config of the text model."""
    tokenizer: HubTokenizer
    window: int
    """Advertised context window in tokens."""
    shape: ModelShape


def read_tokenizer(source: ModelSource, trust_remote_code: bool = False) -> HubTokenizer:
    """The tokenizer of a model; raises ModelError."""
    with _as_model_error(source):
        from transformers import AutoTokenizer

        return HubTokenizer(
            AutoTokenizer.from_pretrained(source.path, **source.arguments, trust_remote_code=trust_remote_code)
        )


def read_window(source: ModelSource, trust_remote_code: bool = False) -> int:
    """The advertised context window in tokens; raises ModelError."""
    return _window(source, _read_config(source, trust_remote_code))


def read_sizes(source: ModelSource, trust_remote_code: bool = False) -> ModelSizes:
    """Config of a model, without tokenizer and weights; raises ModelError."""
    config = _read_config(source, trust_remote_code)
    with _as_model_error(source):
        shape = ModelShape.from_config(config, trust_remote_code)
    return ModelSizes(config, _window(source, config), shape)


def _read_config(source: ModelSource, trust_remote_code: bool) -> Any:
    with _as_model_error(source):
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(source.path, **source.arguments, trust_remote_code=trust_remote_code)
        return config.get_text_config(decoder=True)


def _window(source: ModelSource, config: Any) -> int:
    window = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if not isinstance(window, int):
        raise ModelError(f"{source.name} advertises no window: its config has no max_position_embeddings.")
    return window


def read_card(source: ModelSource, trust_remote_code: bool = False) -> ModelCard:
    """Config and tokenizer of a model, without its weights; raises ModelError."""
    sizes = read_sizes(source, trust_remote_code)
    tokenizer = read_tokenizer(source, trust_remote_code)
    return ModelCard(source, sizes.config, tokenizer, sizes.window, sizes.shape)


def choose_dtype(asked: str, device: str) -> str:
    """The dtype that `asked` means on this device; auto takes bfloat16 where the hardware multiplies it."""
    if asked != "auto":
        return asked
    if device != "cpu":
        return "bfloat16"
    return "bfloat16" if cpu_flags() & {"amx_bf16", "avx512_bf16"} else "float32"


def choose_device(asked: str) -> str:
    """The torch device that `asked` means; raises ModelError if it is not there."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"Device {asked!r} cannot be used: {str(error).splitlines()[0]}") from error
    return str(device)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    model: Any
    """A transformers causal LM in evaluation mode, which runs with streamed attention."""
    kernel: Kernel
    fingerprint: dict[str, Any]
    """Weights, config, template and tokenizer hashes, dtype, device kind and attention kernel."""
    checks: dict[str, Any]
    """What the self-test found."""
    holders: Holders
    """Where its layers are."""


def load_own(
    card: ModelCard, dtype: str, device: str, trust_remote_code: bool = False, spread: Mapping[str, Any] | None = None
) -> Any:
    """The model as transformers makes it, with its own eager attention; raises ModelError.

    It is on `device`, unless `spread` tells from_pretrained of several devices or processes.
    """
    import torch

    folder = _folder(card.source)
    with _as_model_error(card.source):
        from transformers import AutoModelForCausalLM

        weight_files(folder)  # refuses what is damaged or of another kind
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **(spread or {}),
        )
        model = model.eval() if spread else model.to(device).eval()
    for kind in ("missing_keys", "mismatched_keys"):
        if info.get(kind):
            raise ModelError(
                f"{folder} does not hold the whole model: {kind.replace('_', ' ')} {sorted(info[kind])[:3]}."
            )
    return model


def load_model(
    card: ModelCard,
    dtype: str,
    device: str,
    attention: str = "auto",
    rope: str = "model",
    num_tokens: int = 0,
    trust_remote_code: bool = False,
    layout: Layout | None = None,
    ranks: Ranks | None = None,
) -> LoadedModel:
    """The model on its device, or as `layout` says, for prompts of up to `num_tokens` tokens.

    Raises ModelError for files that are damaged, missing, GGUF, or of no use here, and for a model that streamed
    attention does not compute as the model's own does.
    """
    import torch

    from longctx.engine.layout import find_holders
    from longctx.engine.ranks import ALONE
    from longctx.engine.rope import freeze_rope, use_float64_angles
    from longctx.engine.selftest import self_test, stream

    ranks = ranks or ALONE
    model = load_own(card, dtype, device, trust_remote_code, _spread(card, device, layout, ranks, trust_remote_code))
    holders = find_holders(model, ranks)
    folder = _folder(card.source)
    frozen = freeze_rope(model, max(num_tokens, 1))
    if rope == "float64":
        use_float64_angles(model)
    kernel = _kernel_for(model, attention, holders)
    checks = self_test(model, kernel, holders)
    stream(model)
    fingerprint = {
        "name": card.source.name,
        "weights": weights_digest(weight_files(folder)),
        "config": file_digest(folder / "config.json")[:16],
        "tokenizer": card.tokenizer.fingerprint,
        "template": card.tokenizer.template_fingerprint,
        "window": card.window,
        "dtype": dtype,
        "device": torch.device(device).type,
        "attention": kernel.name,
    }
    if frozen:
        fingerprint["rope"] = f"{', '.join(sorted(set(frozen)))} as for a window of {num_tokens} tokens"
    if holders.describe():
        fingerprint["parallel"] = holders.describe()
    return LoadedModel(model, kernel, fingerprint, dataclasses.asdict(checks), holders)


def _spread(
    card: ModelCard, device: str, layout: Layout | None, ranks: Ranks, trust_remote_code: bool
) -> dict[str, Any]:
    """What tells from_pretrained of several devices or processes; nothing for one. Raises ConfigError."""
    from longctx.engine.layout import device_map, tensor_parallel

    if ranks.count > 1:
        with _as_model_error(card.source):
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(_folder(card.source), trust_remote_code=trust_remote_code)
            return tensor_parallel(config, ranks)
    return device_map(layout.device_map, device) if layout and layout.device_map else {}


def _kernel_for(model: Any, attention: str, holders: Holders) -> Kernel:
    """One kernel that passes its test on every device of the model; raises ModelError."""
    from longctx.engine.kernels import choose_kernel
    from longctx.engine.selftest import head_shapes

    shapes = head_shapes(model.config)
    first, *others = map(str, holders.devices)
    kernel = choose_kernel(attention, shapes, model.dtype, first)
    for device in others:
        choose_kernel(kernel.name, shapes, model.dtype, device)
    return kernel


def _folder(source: ModelSource) -> Path:
    """The model's; of a hub model, from its cache or the network, only safetensors and what describes them."""
    if os.path.isdir(source.path):
        return Path(source.path)
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py"]
    with _as_model_error(source):
        return Path(snapshot_download(source.path, allow_patterns=patterns))
