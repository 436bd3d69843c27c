"""The seam for attention kernels: partial_attention(query, key, value, ...) -> (out, lse).

Shapes are those of `reference_attention`. FlashAttention 4, 3 and 2 are used where they are installed, else
torch's own flash and cuDNN kernels, else the reference. What a kernel cannot do (masks, softcap, wide heads,
float32 on a GPU) goes to the reference, so a choice changes speed and the last bits, never the meaning.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from longctx.engine.partial import Partial, reference_attention
from longctx.errors import ModelError

Raw = Callable[..., tuple[torch.Tensor, torch.Tensor]]

# From the fastest measured for long contexts down; a name that is not installed or fails its test is passed over.
_ORDER = {"cuda": ("fa4", "fa3", "cudnn", "fa2", "flash", "reference"), "cpu": ("flash", "reference")}
_INSTALL = {"fa4": "flash-attn-4", "fa3": "flash-attn-3", "fa2": "flash-attn"}
_HALF = (torch.float16, torch.bfloat16)
# cuDNN plans a kernel for every new pair of sizes, which takes far longer than running one: only these go to it.
_CUDNN_STEP = 1024


@dataclass(frozen=True, slots=True)
class Kernel:
    """A way to compute partial attention."""

    name: str
    run: Raw | None = None
    """Without mask or softcap; None for the reference alone."""
    dtypes: tuple[torch.dtype, ...] = _HALF
    max_head_dim: int = 256
    own_value_dim: bool = False
    """Whether values may be narrower than keys; they are padded with zeros where not."""
    takes_masks: bool = False

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        causal: bool = False,
        mask: torch.Tensor | None = None,
        softcap: float | None = None,
    ) -> Partial:
        """As `reference_attention`; out has the query's dtype or float32. `causal` wants as many queries as keys."""
        head_dim, value_dim = query.shape[-1], value.shape[-1]
        possible = (
            self.run is not None
            and softcap is None
            and (mask is None or self.takes_masks)
            and query.dtype in self.dtypes
            and max(head_dim, value_dim) <= self.max_head_dim
        )
        if self.run is None or not possible:
            return reference_attention(query, key, value, scale, causal, mask, softcap)
        padding = head_dim - value_dim
        if padding > 0 and not self.own_value_dim:
            value = torch.nn.functional.pad(value, (0, padding))
        elif padding < 0 and not self.own_value_dim:
            query, key = (torch.nn.functional.pad(states, (0, -padding)) for states in (query, key))
        masks = {} if mask is None else {"mask": mask}
        out, lse = self.run(query, key, value, scale, causal, **masks)
        return Partial(out[..., :value_dim], lse)


def _fold(query: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """The query heads of a group in a row, (batch, kv_heads, group * queries, dim): longer rows make fuller tiles."""
    batch, heads, queries, size = query.shape
    return query.reshape(batch, kv_heads, heads // kv_heads * queries, size)


def _flash_cpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    causal: bool,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    shape, bias = query.shape, None
    if not causal:
        query = _fold(query, key.shape[1])
    if mask is not None:
        bias = torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, -math.inf)
        bias = bias.repeat(1, 1, shape[1] // key.shape[1], 1)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = kernel(query, key, value, 0.0, causal, attn_mask=bias, scale=scale)
    out, lse = out.reshape(shape), lse.reshape(shape[:3])
    if mask is not None:  # the kernel gives lse 0 for a row that sees nothing
        lse = lse.masked_fill(~mask.any(-1), -math.inf)
    return out, lse


def _flash_cuda(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    padding = -query.shape[-1] % 8
    if padding:
        query, key, value = (torch.nn.functional.pad(states, (0, padding)) for states in (query, key, value))
    out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, scale=scale)
    return out[..., : out.shape[-1] - padding], lse


def _cudnn(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    dims = query.shape[-1], value.shape[-1]
    whole = all(states.shape[2] % _CUDNN_STEP == 0 for states in (query, key))
    if not whole or max(dims) > 128 or any(size % 8 for size in dims):
        return _flash_cuda(query, key, value, scale, causal)
    kernel = torch.ops.aten._scaled_dot_product_cudnn_attention
    out, lse, *_ = kernel(query, key, value, None, True, 0.0, causal, False, scale=scale)
    return out, lse.reshape(query.shape[:3])


def _from_package(module: str, **arguments: object) -> Raw:
    """flash_attn_func of a FlashAttention package, which takes (batch, tokens, heads, dim)."""
    function = importlib.import_module(module).flash_attn_func

    def run(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, causal: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        states = (x.transpose(1, 2) for x in (query, key, value))
        # Some launch on the current device, whatever the tensors' is.
        with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]
            out, lse, *_ = function(*states, softmax_scale=scale, causal=causal, **arguments)
        return out.transpose(1, 2), lse

    return run


def _make(name: str, device: str) -> Kernel:
    """A kernel by name; raises ImportError where its package is missing."""
    if name == "reference":
        return Kernel(name)
    if name == "flash" and device == "cpu":
        return Kernel(name, _flash_cpu, (*_HALF, torch.float32, torch.float64), max_head_dim=1024, takes_masks=True)
    if name == "flash":
        return Kernel(name, _flash_cuda)
    if name == "cudnn":
        return Kernel(name, _cudnn)
    if name == "fa2":
        return Kernel(name, _from_package("flash_attn", return_attn_probs=True))
    if name == "fa3":
        return Kernel(name, _from_package("flash_attn_interface", return_attn_probs=True), own_value_dim=True)
    return Kernel(name, _from_package("flash_attn.cute", return_lse=True), own_value_dim=True)


@dataclass(frozen=True, slots=True)
class HeadShape:
    """What a layer's attention looks like to a kernel."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int


def kernel_error(kernel: Kernel, shape: HeadShape, dtype: torch.dtype, device: str) -> str | None:
    """What is wrong with a kernel's results on random input, against the reference in float64; None if nothing."""
    generator = torch.Generator().manual_seed(0)
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5}.get(dtype, 2e-2)

    def random(heads: int, tokens: int, size: int) -> torch.Tensor:
        states = torch.randn(1, heads, tokens, size, generator=generator, dtype=torch.float32)
        return states.to(device=device, dtype=dtype)

    scale = shape.head_dim**-0.5
    sizes = [(33, 33, True), (33, 129, False)]
    if torch.device(device).type == "cuda":  # of cuDNN's own
        sizes += [(1024, 1024, True), (1024, 2048, False)]
    for queries, keys, causal in sizes:
        query = random(shape.num_heads, queries, shape.head_dim)
        key, value = random(shape.num_kv_heads, keys, shape.head_dim), random(shape.num_kv_heads, keys, shape.value_dim)
        wanted = reference_attention(query.double(), key.double(), value.double(), scale, causal)
        try:
            found = kernel(query, key, value, scale, causal)
        except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        for name in ("out", "lse"):
            mine, other = getattr(found, name).double(), getattr(wanted, name)
            if mine.shape != other.shape:
                return f"{name} has the shape {tuple(mine.shape)}, not {tuple(other.shape)}"
            gap = float((mine - other).abs().max())
            if not gap <= tolerance:
                return f"{name} is off by {gap:.2g} for {queries} queries and {keys} keys (causal: {causal})"
    return None


def choose_kernel(asked: str, shapes: Sequence[HeadShape], dtype: torch.dtype, device: str) -> Kernel:
    """The kernel to use on a device ("cpu" or "cuda"); `auto` takes the first that is there and passes its test.

    The test is for every one of `shapes`. Raises ModelError for a kernel that was asked for and is not there, or is
    wrong here.
    """
    kind = torch.device(device).type
    names = _ORDER.get(kind, ("reference",))
    if asked != "auto" and asked not in names:
        raise ModelError(f"Attention {asked!r} does not run on {kind}. Legal here: auto, {', '.join(names)}.")
    for name in names if asked == "auto" else (asked,):
        try:
            kernel = _make(name, kind)
        except ImportError as error:
            if asked != "auto":
                raise ModelError(f"Attention {name!r} is not installed: pip install {_INSTALL[name]}.") from error
            continue
        reasons = [reason for shape in shapes if (reason := kernel_error(kernel, shape, dtype, device))]
        if not reasons:
            return kernel
        if asked != "auto":
            raise ModelError(f"Attention {name!r} fails its test on this machine: {reasons[0]}.")
    raise ModelError(f"No attention kernel gives right results on {device} in {dtype}.")
