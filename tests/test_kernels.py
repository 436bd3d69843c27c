"""Kernels and their merge against softmax attention written out in float64."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx.engine.kernels import HeadShape, Kernel, choose_kernel, kernel_error
from longctx.engine.partial import Merged, Partial, reference_attention
from longctx.errors import ModelError

SHAPE = HeadShape(num_heads=6, num_kv_heads=2, head_dim=16, value_dim=16)


def written_out(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(out, lse) by softmax over the whole row; `seen` (queries, keys)."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.double().repeat_interleave(groups, 1) for x in (key, value))
    scores = (query.double() @ key.transpose(2, 3) * scale).masked_fill(~seen, -math.inf)
    return scores.softmax(-1).nan_to_num(0.0) @ value, scores.exp().sum(-1).log()


def random_states(seed: int, queries: int, keys: int, shape: HeadShape = SHAPE) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    sizes = (
        (shape.num_heads, queries, shape.head_dim),
        (shape.num_kv_heads, keys, shape.head_dim),
        (shape.num_kv_heads, keys, shape.value_dim),
    )
    return tuple(torch.randn(2, *size, generator=generator, dtype=torch.float64) for size in sizes)


@functools.cache
def flash(shape: HeadShape = SHAPE, dtype: torch.dtype = torch.float64) -> Kernel:
    return choose_kernel("flash", [shape], dtype, "cpu")


@given(st.integers(0, 99), st.integers(1, 600), st.integers(1, 90), st.sampled_from(["all", "causal", "mask"]))
def test_flash_and_reference_are_attention(seed: int, queries: int, keys: int, what: str) -> None:
    query, key, value = random_states(seed, queries, queries if what == "causal" else keys)
    seen = torch.ones(queries, key.shape[2], dtype=torch.bool)
    if what == "causal":
        seen = seen.tril()
    elif what == "mask":
        seen = torch.rand(seen.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    wanted = written_out(query, key, value, 0.3, seen)
    mask = seen[None, None] if what == "mask" else None
    for kernel in (flash(), Kernel("reference")):
        for found, expected in zip(kernel(query, key, value, 0.3, what == "causal", mask), wanted, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


@given(st.integers(0, 99), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.booleans())
def test_parts_merge_to_the_whole(seed: int, sizes: list[int], masked: bool) -> None:
    """Also where a part has keys that some queries do not see, or none does."""
    query, key, value = random_states(seed, 9, sum(sizes))
    seen = torch.rand(9, sum(sizes), generator=torch.Generator().manual_seed(seed)) < (0.2 if masked else 2.0)
    seen[:, -1] = True
    merged, start = Merged(), 0
    for size in sizes:
        part = slice(start, start + size)
        merged.add(flash()(query, key[:, :, part], value[:, :, part], 0.3, mask=seen[None, None, :, part]))
        start += size
    for found, expected in zip(merged.result(), written_out(query, key, value, 0.3, seen), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_nothing_merges_to_an_error() -> None:
    with pytest.raises(ValueError, match="no part"):
        Merged().result()


def test_bfloat16_parts_are_added_in_float32() -> None:
    """Sixty parts lose no more than one: a bfloat16 sum would round at each."""
    query, key, value = (x.bfloat16() for x in random_states(0, 8, 1920))
    wanted, _ = written_out(query, key, value, 0.25, torch.ones(8, 1920, dtype=torch.bool))
    kernel, merged = flash(dtype=torch.bfloat16), Merged()
    for start in range(0, 1920, 32):
        merged.add(kernel(query, key[:, :, start : start + 32], value[:, :, start : start + 32], 0.25))
    out, lse = merged.result()
    assert out.dtype == lse.dtype == torch.float32
    whole = kernel(query, key, value, 0.25).out
    assert (out.double() - wanted).abs().max() < 1.5 * (whole.double() - wanted).abs().max()


@pytest.mark.parametrize(("head_dim", "value_dim"), [(24, 16), (16, 24), (16, 16)])
def test_values_may_be_wider_or_narrower_than_keys(head_dim: int, value_dim: int) -> None:
    shape = replace(SHAPE, head_dim=head_dim, value_dim=value_dim)
    assert kernel_error(flash(shape), shape, torch.float64, "cpu") is None


def test_a_softcap_is_applied_before_the_softmax() -> None:
    query, key, value = random_states(1, 5, 30)
    scores = torch.tanh(query @ key.repeat_interleave(3, 1).transpose(2, 3) * 0.9 / 2.0) * 2.0
    wanted = scores.softmax(-1) @ value.repeat_interleave(3, 1)
    torch.testing.assert_close(flash()(query, key, value, 0.9, softcap=2.0).out, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_kernel_test_passes_what_is_right_and_names_what_is_wrong(dtype: torch.dtype) -> None:
    kernel = flash(dtype=dtype)
    assert kernel_error(kernel, SHAPE, dtype, "cpu") is None

    def base_two(*arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert kernel.run is not None
        out, lse = kernel.run(*arguments)
        return out, lse / math.log(2)

    def fails(*_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise RuntimeError("no kernel image")

    assert "lse is off by" in str(kernel_error(replace(kernel, run=base_two), SHAPE, dtype, "cpu"))
    assert kernel_error(replace(kernel, run=fails), SHAPE, dtype, "cpu") == "RuntimeError: no kernel image"
    short = replace(kernel, run=lambda *a: (torch.zeros(1), torch.zeros(1)))
    assert "shape" in str(kernel_error(short, SHAPE, dtype, "cpu"))


def test_a_kernel_that_is_not_there_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_kernel("auto", [SHAPE], torch.float32, "cpu").name == "flash"
    assert choose_kernel("reference", [SHAPE], torch.float32, "cpu").name == "reference"
    with pytest.raises(ModelError, match=r"'fa3' does not run on cpu. Legal here: auto, flash, reference"):
        choose_kernel("fa3", [SHAPE], torch.float32, "cpu")
    monkeypatch.setattr("longctx.engine.kernels._ORDER", {"cpu": ("fa4", "fa2", "flash")})
    assert choose_kernel("auto", [SHAPE], torch.float32, "cpu").name == "flash"
    with pytest.raises(ModelError, match="'fa4' is not installed: pip install flash-attn-4"):
        choose_kernel("fa4", [SHAPE], torch.float32, "cpu")


def test_a_wrong_kernel_is_passed_over_and_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longctx.engine.kernels._flash_cpu", lambda q, k, v, *_: (q * 0, q[..., 0]))
    assert choose_kernel("auto", [SHAPE], torch.float32, "cpu").name == "reference"
    with pytest.raises(ModelError, match="fails its test on this machine: out is off by"):
        choose_kernel("flash", [SHAPE], torch.float32, "cpu")


def test_a_query_that_sees_nothing_gives_zeros_and_no_weight() -> None:
    query, key, value = random_states(0, 3, 5)
    mask = torch.zeros(1, 1, 3, 5, dtype=torch.bool)
    for found in (flash()(query, key, value, 0.3, mask=mask), reference_attention(query, key, value, 0.3, mask=mask)):
        assert isinstance(found, Partial)
        assert not found.out.any()
        assert bool((found.lse == -math.inf).all())
