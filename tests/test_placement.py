from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.engine.cost import LayerShape, ModelShape, Parameters
from longctx.engine.machine import RESERVE_BYTES, Stated, found_machine, stated_machine
from longctx.engine.placement import Machine, Workload, place
from longctx.errors import ConfigError

LLAMA_8B = ModelShape((LayerShape(32, 128, 128, 2048),) * 32, Parameters(8_030_000_000, 6_980_000_000))
SMOLLM2 = ModelShape((LayerShape(9, 64, 64, 384),) * 30, Parameters(134_500_000, 106_000_000))
SCOUT = ModelShape(
    (LayerShape(40, 128, 128, 2048, 8192, chunked=True),) * 36 + (LayerShape(40, 128, 128, 2048),) * 12,
    Parameters(107_800_000_000, 9_900_000_000, 96_000_000_000, 6_000_000_000),
)
GEMMA_270M = ModelShape(
    (LayerShape(4, 256, 256, 512, 512),) * 15 + (LayerShape(4, 256, 256, 512),) * 3,
    Parameters(268_000_000, 100_000_000),
)
DEEPSEEK_V3 = ModelShape(
    (LayerShape(128, 192, 128, 576, expansion_size=512 * 128 * 256),) * 61,
    Parameters(671_000_000_000, 16_000_000_000, 650_000_000_000, 20_000_000_000),
)
ENDLESS = Machine("endless", "as stated", 10**18, 0, 0, 600e12, 3.35e12, math.inf, math.inf)


def work(shape: ModelShape = LLAMA_8B, chunk: int = 8192, num_questions: int = 15) -> Workload:
    return Workload(shape, 2, chunk, num_questions)


def with_room(device: int = 0, host: int = 0, disk: int = 0) -> Machine:
    """A machine with so much room for keys and values of Llama 8B, at 600 TFLOP/s, 50 GB/s and 6 GB/s."""
    return dataclasses.replace(
        ENDLESS,
        device_bytes=work().weight_bytes + device,
        host_bytes=host,
        disk_bytes=disk,
        host_rate=50e9,
        disk_rate=6e9 if disk else math.inf,
    )


@pytest.mark.parametrize(
    ("shape", "tflops", "seconds"),
    [
        (LLAMA_8B, 600, {10**6: 7.8 * 60, 10**7: 12.2 * 3600}),
        (SCOUT, 600, {10**6: 4.7 * 60, 10**7: 5.9 * 3600}),
        (SMOLLM2, 400, {10**6: 87, 10**7: 2.4 * 3600}),
        (GEMMA_270M, 450, {10**6: 14, 10**7: 23 * 60}),
    ],
)
def test_prefill_takes_what_arithmetic_by_hand_says(
    shape: ModelShape, tflops: float, seconds: dict[int, float]
) -> None:
    """To a tenth: by hand, dense layers had a rate of their own."""
    machine = dataclasses.replace(ENDLESS, flops_rate=tflops * 1e12)
    for num_tokens, expected in seconds.items():
        assert place(work(shape), machine, num_tokens).prefill_seconds == pytest.approx(expected, rel=0.1)


@given(st.integers(1, 60_000), st.integers(1, 20_000))
def test_chunks_do_not_change_what_is_computed(num_tokens: int, chunk: int) -> None:
    placement = place(work(SCOUT, chunk), ENDLESS, num_tokens)
    assert placement.flops == SCOUT.prefill_flops(0, num_tokens)
    assert placement.prefill_seconds == pytest.approx(placement.flops / 600e12)


def test_copies_from_host_memory_hide_behind_long_chunks() -> None:
    """By hand: chunks of 12,000 / (32 heads / 8 kv heads) = 3,000 tokens hide 50 GB/s at 600 TFLOP/s."""
    machine = with_room(host=10**15)
    tokens = 2**20
    compute = LLAMA_8B.prefill_flops(0, tokens) / 600e12
    assert place(work(chunk=4096), machine, tokens).prefill_seconds == pytest.approx(compute, rel=1e-9)
    short = place(work(chunk=1024), machine, tokens).prefill_seconds
    copied = 131_072 * 1024 * sum(range(1024))  # all that is there, for each of 1024 chunks
    assert short == pytest.approx(copied / 50e9, rel=0.01)
    assert short > 2.5 * compute


def test_a_disk_is_eight_times_slower_and_written_first() -> None:
    tokens, chunk = 2**18, 8192
    found = place(work(), with_room(disk=10**15), tokens)
    read = sum(131_072 * start / 6e9 for start in range(2 * chunk, tokens, chunk))
    written = 131_072 * tokens / 6e9
    computed = LLAMA_8B.prefill_flops(0, 2 * chunk) / 600e12  # as long as there is less to read
    assert found.prefill_seconds == pytest.approx(computed + read + written)
    assert found.decode_seconds == pytest.approx(131_072 * tokens / 6e9)


def test_a_step_costs_the_same_for_1_and_64_questions() -> None:
    """By hand: 2.6 s for Llama 8B at 1M tokens in host memory."""
    machine = with_room(host=10**15)
    one, many = (place(work(num_questions=n), machine, 10**6).decode_seconds for n in (1, 64))
    assert one == many == pytest.approx(2.62, rel=0.01)


def test_a_step_on_the_device_reads_weights_and_cache_once() -> None:
    found = place(work(), ENDLESS, 10**6).decode_seconds
    assert found == pytest.approx((2 * 6_980_000_000 + 131_072 * 10**6) / 3.35e12)


def test_latent_attention_expands_all_that_is_there_for_each_step() -> None:
    """By hand: 2e15 operations a step of DeepSeek V3 at 1M tokens, more than reading takes."""
    found = place(work(DEEPSEEK_V3, num_questions=1), ENDLESS, 10**6)
    assert found.decode_seconds == pytest.approx((2e15 + 61 * 2 * 128 * 320 * 1e6) / 600e12, rel=0.05)
    expansions = sum(2 * 61 * 512 * 128 * 256 * start for start in range(0, 10**6, 8192))
    assert found.flops == DEEPSEEK_V3.prefill_flops(0, 10**6) + expansions


@given(st.integers(1, 10**7), st.integers(0, 10**12), st.integers(0, 10**12))
def test_tiers_are_filled_in_order_and_nothing_is_lost(num_tokens: int, device: int, host: int) -> None:
    found = place(work(chunk=2**20), with_room(device, host), num_tokens)
    spread, total = found.spread, 131_072 * num_tokens
    assert spread.device == min(total, device)
    assert spread.host == min(total - spread.device, host)
    assert spread.device + spread.host + found.missing_kv_bytes == total
    assert found.fits == (total <= device + host)
    assert spread.disk == 0


def test_a_disk_holds_everything_once_more() -> None:
    tokens = 2**20
    total = 131_072 * tokens
    fits = place(work(), with_room(total // 2, total // 4, total), tokens)
    assert fits.fits
    assert (fits.spread.device, fits.spread.host, fits.spread.disk) == (total // 2, total // 4, total // 4)
    assert place(work(), with_room(total, total, total - 1), tokens).missing_kv_bytes == 1


def test_one_gpu_holds_440_thousand_tokens_beside_an_8b_model() -> None:
    machine = stated_machine(Stated(gpu_memory=80 * 10**9, tflops=600))
    assert place(work(), machine, 441_000).fits
    over = place(work(), machine, 443_000)
    assert over.missing_kv_bytes == 131_072 * 443_000 - (80 * 10**9 - RESERVE_BYTES - 16_060_000_000)
    assert over.missing_weight_bytes == 0


def test_weights_that_do_not_fit_are_said() -> None:
    machine = stated_machine(Stated(gpu_memory=80 * 10**9, tflops=600, host_memory=10**15, pcie=50 * 10**9))
    found = place(work(SCOUT), machine, 8192)
    assert found.missing_weight_bytes == 2 * 107_800_000_000 - 74 * 10**9
    assert (found.missing_kv_bytes, found.spread.device, found.fits) == (0, 0, False)


def test_what_is_stated_of_one_gpu_is_multiplied() -> None:
    stated = Stated(
        gpus=8, gpu_memory=80 * 2**30, host_memory=2**41, tflops=500, pcie=5, hbm=7, disk=4 * 10**12, nvme=6
    )
    assert stated_machine(stated) == Machine(
        "8 GPUs of 80 GiB together", "as stated", 8 * (80 * 2**30 - RESERVE_BYTES), 2**41, 4 * 10**12, 4e15, 56, 40, 6
    )


def test_what_is_not_stated_needs_no_rate() -> None:
    machine = stated_machine(Stated(gpu_memory=2**30, tflops=1))
    assert (machine.host_bytes, machine.disk_bytes, machine.device_bytes) == (0, 0, 0)
    assert machine.host_rate == machine.disk_rate == math.inf
    assert machine.device_rate == 3.35e12
    assert "as an H100's" in machine.source


@pytest.mark.parametrize(
    ("stated", "missing"),
    [
        (Stated(gpus=8), "add --gpu-memory and --tflops"),
        (Stated(gpu_memory=1), "add --tflops"),
        (Stated(host_memory=1), "add --gpu-memory and --tflops and --pcie"),
        (Stated(gpu_memory=1, tflops=1, disk=1), "add --pcie and --nvme"),
        (Stated(gpu_memory=1, tflops=0.0), "tflops is 0.0"),
        (Stated(gpu_memory=1, tflops=math.nan), "tflops is nan"),
    ],
)
def test_half_a_machine_is_refused(stated: Stated, missing: str) -> None:
    assert stated.is_elsewhere
    with pytest.raises(ConfigError, match=missing):
        stated_machine(stated)


def test_this_machine_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longctx.engine.machine.available_bytes", lambda: 1000)
    machine = found_machine(Stated(), "float32", "cpu")
    assert (machine.device_bytes, machine.host_bytes, machine.disk_bytes) == (700, 0, 0)
    assert 1e8 < machine.flops_rate < 1e16
    assert 1e8 < machine.device_rate < 1e14


def test_a_disk_here_needs_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="add --nvme"):
        found_machine(Stated(disk=10**12), "float32", "cpu")
    monkeypatch.setattr("longctx.engine.speed.prefill_rate", lambda dtype, device: 5.0)
    machine = found_machine(Stated(disk=10**12, nvme=3, hbm=7), "float32", "cpu")
    assert (machine.disk_bytes, machine.disk_rate, machine.device_rate, machine.flops_rate) == (10**12, 3, 7, 5)
