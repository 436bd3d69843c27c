"""What the streamed cache costs on a GPU: rates beside the bare kernel's, peak memory, and questions at the far end.

Random weights in the shape of Llama 3.1 8B with fewer layers; every rate and ratio is from one process on one card.
`--device cpu --lengths 2k,4k --hidden 256` tries the script itself where there is none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from longctx import environment
from longctx.engine.cost import ModelShape
from longctx.engine.engine import Engine
from longctx.engine.kernels import Kernel, choose_kernel
from longctx.engine.kv import StreamedCache
from longctx.engine.memory import Memory
from longctx.engine.selftest import head_shapes, stream
from longctx.engine.staging import Stager
from longctx.engine.tiers import Tiers
from longctx.files import write_atomically
from longctx.lengths import format_length, parse_length, parse_lengths

_HEAD_DIM = 128
# Of device memory, where all keys and values are to be there.
_DEVICE_BYTES = 48 << 30


def make_model(device: torch.device, num_layers: int, hidden: int) -> Any:
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=hidden,
        intermediate_size=hidden * 7 // 2,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden // _HEAD_DIM,
        num_key_value_heads=max(1, hidden // _HEAD_DIM // 4),
        max_position_embeddings=2**24,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(dtype=torch.bfloat16, device=device).eval()
    stream(model)
    return model


class Bench:
    """One model on one device."""

    def __init__(self, device: str, num_layers: int, hidden: int, chunk: int, block: int) -> None:
        self.device = torch.device(device)
        self.model = make_model(self.device, num_layers, hidden)
        self.shape = ModelShape.from_config(self.model.config)
        self.kernel: Kernel = choose_kernel("auto", head_shapes(self.model.config), torch.bfloat16, device)
        self.chunk, self.block = chunk, block

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], Any]) -> float:
        self.wait()
        start = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - start

    def engine(self, on_device: bool) -> Engine:
        memory = Memory(self.device, _DEVICE_BYTES if on_device else 0, 2**40)
        tiers = Tiers(memory, Stager(self.device), self.block, self.kernel)
        return Engine(self.model, str, self.shape, self.chunk, tiers)

    def prefill(self, engine: Engine, length: int) -> StreamedCache:
        ids = torch.randint(1024, (length,), generator=torch.Generator().manual_seed(0)).numpy()
        cache = engine.reader.new_cache()
        for start in range(0, length, self.chunk):
            engine.reader.prefill(ids[start : start + self.chunk], cache)
        return cache

    def bare_kernel(self) -> float:
        """TFLOP/s of the kernel alone: a chunk of queries over a block of keys."""
        heads = head_shapes(self.model.config)[0]

        def random(num_heads: int, num_tokens: int) -> torch.Tensor:
            return torch.randn(1, num_heads, num_tokens, _HEAD_DIM, device=self.device, dtype=torch.bfloat16)

        query = random(heads.num_heads, self.chunk)
        key, value = (random(heads.num_kv_heads, self.block) for _ in "kv")
        times = 20 if self.device.type == "cuda" else 1

        def run() -> None:
            for _ in range(times):
                self.kernel(query, key, value, _HEAD_DIM**-0.5)

        run()
        flops = times * 4 * heads.num_heads * self.chunk * self.block * _HEAD_DIM
        return flops / self.seconds(run) / 1e12

    def rate(self, length: int, on_device: bool) -> dict[str, Any]:
        """A whole prefill: TFLOP/s, and the peak of device memory beyond the weights."""
        engine = self.engine(on_device)
        self.prefill(engine, length)  # warm-up: plans, buffers, and pinned memory, which is slow to get and then kept
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
        seconds = self.seconds(lambda: self.prefill(engine, length))
        peak = torch.cuda.max_memory_allocated(self.device) - before if cuda else 0
        return {
            "length": format_length(length),
            "keys_and_values": "device" if on_device else "host",
            "seconds": round(seconds, 2),
            "tflops": round(self.shape.prefill_flops(0, length) / seconds / 1e12, 2),
            "device_gib_beyond_weights": round(peak / 2**30, 2),
        }

    def offloaded(self, length: int) -> dict[str, Any]:
        """transformers' own offloaded cache with its sdpa attention, in the same chunks."""
        self.model.set_attn_implementation("sdpa")
        ids = torch.randint(1024, (1, length), generator=torch.Generator().manual_seed(0)).to(self.device)

        @torch.inference_mode()
        def run(num_tokens: int) -> None:
            cache = DynamicCache(config=self.model.config, offloading=self.device.type == "cuda")
            for start in range(0, num_tokens, self.chunk):
                step = ids[:, start : start + self.chunk]
                self.model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)

        try:
            run(min(length, 2 * self.chunk))
            seconds = self.seconds(lambda: run(length))
        except torch.OutOfMemoryError as error:
            return {"length": format_length(length), "keys_and_values": "transformers, offloaded", "error": str(error)}
        finally:
            stream(self.model)
        tflops = self.shape.prefill_flops(0, length) / seconds / 1e12
        return {
            "length": format_length(length),
            "keys_and_values": "transformers, offloaded",
            "seconds": round(seconds, 2),
            "tflops": round(tflops, 2),
        }

    def decode(self, length: int) -> list[dict[str, Any]]:
        """Seconds of one decoding step over keys and values in host memory, for 1 and for 100 questions."""
        engine = self.engine(on_device=False)
        cache = self.prefill(engine, length)
        found = []
        for num_questions in (1, 100):
            fan = cache.ask(num_questions)
            rows = [[5]] * num_questions
            engine.reader.ask(rows, fan, 1)
            seconds = self.seconds(lambda fan=fan, rows=rows: engine.reader.ask(rows, fan, 1))  # type: ignore[misc]
            found.append({"length": format_length(length), "questions": num_questions, "seconds": round(seconds, 4)})
        return found


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--lengths", default="32k,128k,1M", show_default=True)
@click.option("--decode-at", default="1M", show_default=True)
@click.option("--layers", default=2, show_default=True)
@click.option("--hidden", default=4096, show_default=True)
@click.option("--chunk", default=8192, show_default=True)
@click.option("--block", default=32_768, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for engine.json.")
def main(
    device: str, lengths: str, decode_at: str, layers: int, hidden: int, chunk: int, block: int, out: Path
) -> None:
    """Measure the streamed cache on one device."""
    bench = Bench(device, layers, hidden, chunk, block)
    record: dict[str, Any] = {
        "date": environment.utc_now(),
        "code": environment.code_version(),
        "packages": environment.packages(),
        "hardware": environment.hardware(),
        "kernel": bench.kernel.name,
        "layers": layers,
        "chunk": chunk,
        "block": block,
        "bare_kernel_tflops": round(bench.bare_kernel(), 1),
        "prefill": [],
    }
    click.echo(f"{bench.kernel.name}: {record['bare_kernel_tflops']} TFLOP/s by itself")
    out.mkdir(parents=True, exist_ok=True)

    def keep(part: str, row: dict[str, Any]) -> None:
        record.setdefault(part, []).append(row)
        click.echo(json.dumps(row))
        write_atomically(out / "engine.json", (json.dumps(record, indent=1) + "\n").encode())

    for length in parse_lengths(lengths):
        for on_device in (True, False):
            keep("prefill", bench.rate(length, on_device))
        if length == parse_lengths(lengths)[-2:][0]:  # where transformers' own still fits
            keep("prefill", bench.offloaded(length))
    for row in bench.decode(parse_length(decode_at)):
        keep("decode", row)


if __name__ == "__main__":
    main()
