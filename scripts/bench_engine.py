"""The streamed KV cache against transformers' DynamicCache on a CPU, and what it costs in memory.

Every ratio is of CPU seconds measured side by side in one process, on random weights in the embedded model's shape
with fewer layers: what is compared does not depend on what the weights say.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from longctx import environment
from longctx.engine.disk import DiskStore
from longctx.engine.kernels import choose_kernel
from longctx.engine.kv import StreamedCache
from longctx.engine.memory import Memory
from longctx.engine.selftest import head_shapes, stream
from longctx.engine.staging import Stager
from longctx.engine.tiers import Tiers
from longctx.files import write_atomically
from longctx.lengths import format_length, parse_lengths

_CPU = torch.device("cpu")
_BLOCK = 4096
_CHUNK = 1024


def make_model(num_layers: int, heads: int = 9, kv_heads: int = 3, hidden: int = 576) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=num_layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=2**20,
    )
    return LlamaForCausalLM(config).eval()


def tiers(model: Any, device_bytes: int = 2**40, disk: DiskStore | None = None) -> Tiers:
    kernel = choose_kernel("auto", head_shapes(model.config), model.dtype, "cpu")
    return Tiers(Memory(_CPU, device_bytes), Stager(_CPU), _BLOCK, kernel, disk)


def cpu_seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@torch.inference_mode()
def read(model: Any, ids: torch.Tensor, cache: Any, chunk: int) -> None:
    for start in range(0, ids.shape[1], chunk):
        step = ids[:, start : start + chunk]
        model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        if isinstance(cache, StreamedCache):
            cache.commit(step.shape[1])
            cache.save(str(start))


def compare_prefill(length: int, num_layers: int) -> dict[str, Any]:
    """CPU seconds of a prefill: streamed; transformers' cache in the same chunks; transformers in one piece."""
    ours, plain = make_model(num_layers), make_model(num_layers)
    stream(ours)
    plain.set_attn_implementation("sdpa")
    ids = torch.randint(512, (1, length), generator=torch.Generator().manual_seed(0))
    for model in (ours, plain):
        read(model, ids[:, :2048], new_cache(model), _CHUNK)  # warm-up
    sides = {
        "streamed": cpu_seconds(lambda: read(ours, ids, new_cache(ours), _CHUNK)),
        "dynamic": cpu_seconds(lambda: read(plain, ids, new_cache(plain), _CHUNK)),
        "one_shot": cpu_seconds(lambda: read(plain, ids, new_cache(plain), length)),
    }
    return {
        "length": format_length(length),
        **{f"{name}_cpu_seconds": round(seconds, 1) for name, seconds in sides.items()},
        "to_dynamic": round(sides["streamed"] / sides["dynamic"], 2),
        "to_one_shot": round(sides["streamed"] / sides["one_shot"], 2),
    }


def new_cache(model: Any) -> Any:
    if model.config._attn_implementation == "sdpa":
        return DynamicCache(config=model.config)
    return StreamedCache(model.config, tiers(model))


@torch.inference_mode()
def compare_questions(length: int, num_questions: int, num_tokens: int, num_layers: int) -> dict[str, Any]:
    """Questions over one prefix, in one forward, against a chunk of as many tokens after the same prefix."""
    model = make_model(num_layers)
    stream(model)
    cache = StreamedCache(model.config, tiers(model))
    generator = torch.Generator().manual_seed(0)
    read(model, torch.randint(512, (1, length), generator=generator), cache, _CHUNK)
    ids = torch.randint(512, (num_questions, num_tokens), generator=generator)

    def ask() -> None:
        fan = cache.ask(num_questions)
        fan.begin_rows(torch.ones_like(ids, dtype=torch.bool))
        model(input_ids=ids, past_key_values=fan, use_cache=True, logits_to_keep=1)

    def chunk() -> None:
        twin = cache.branch()
        model(input_ids=ids.reshape(1, -1), past_key_values=twin, use_cache=True, logits_to_keep=1)

    ask()
    rounds = [(cpu_seconds(ask), cpu_seconds(chunk)) for _ in range(3)]
    asked, read_on = (min(side) for side in zip(*rounds, strict=True))
    return {
        "length": format_length(length),
        "questions": num_questions,
        "tokens_each": num_tokens,
        "questions_cpu_seconds": round(asked, 2),
        "chunk_cpu_seconds": round(read_on, 2),
        "ratio": round(asked / read_on, 2),
    }


def anonymous_mib() -> float:
    """Memory of this process that is no file's, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure_memory(length: int, device_blocks: int, folder: Path) -> dict[str, Any]:
    """Peak of the device tier by the store's own account, and of this process, after each chunk."""
    model = make_model(1, heads=2, kv_heads=1, hidden=128)
    stream(model)
    block_bytes = _BLOCK * 64 * 2 * 4
    store = DiskStore(folder, "bench")
    kept = tiers(model, device_blocks * block_bytes, store)
    cache = StreamedCache(model.config, kept)
    ids = torch.randint(512, (1, length), generator=torch.Generator().manual_seed(0))
    peak = 0.0
    for start in range(0, length, _CHUNK):
        read(model, ids[:, start : start + _CHUNK], cache, _CHUNK)
        peak = max(peak, anonymous_mib())
    kv_mib = length * 64 * 2 * 4 / 2**20
    return {
        "length": format_length(length),
        "kv_mib": round(kv_mib),
        "device_tier_peak_mib": round(kept.memory.usage("device").peak / 2**20, 1),
        "process_peak_mib": round(peak),
    }


def memory_in_a_process_of_its_own(length: int, device_blocks: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--memory-of", f"{length}:{device_blocks}:{folder}"]
        result: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return result


def table(rows: list[dict[str, Any]]) -> str:
    heads = list(rows[0])
    lines = [f"| {' | '.join(head.replace('_', ' ') for head in heads)} |", "|" + "--:|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(str(row[head]) for head in heads)} |" for row in rows)])


@click.command()
@click.option("--lengths", default="8k,16k,32k,64k", show_default=True, help="Of the prefill.")
@click.option("--layers", default=1, show_default=True)
@click.option("--memory-lengths", default="8k,256k", show_default=True)
@click.option("--memory-of", hidden=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for bench-engine.md and bench-engine.json.")
def main(lengths: str, layers: int, memory_lengths: str, memory_of: str | None, out: Path | None) -> None:
    """Measure the streamed cache against transformers' own, in CPU seconds on one core."""
    torch.set_num_threads(1)
    if memory_of is not None:
        length, blocks, folder = memory_of.split(":", 2)
        click.echo(json.dumps(measure_memory(int(length), int(blocks), Path(folder))))
        return
    record: dict[str, Any] = {
        "date": environment.utc_now(),
        "code": environment.code_version(),
        "packages": environment.packages(),
        "hardware": environment.hardware(),
    }
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "prefill": lambda: [compare_prefill(length, layers) for length in parse_lengths(lengths)],
        "questions": lambda: [compare_questions(32 * 1024, 100, 30, layers)],
        "memory": lambda: [memory_in_a_process_of_its_own(length, 2) for length in parse_lengths(memory_lengths)],
    }
    text = "# The streamed cache against transformers' own\n"
    for name, run in parts.items():
        record[name] = run()
        text += f"\n## {name}\n\n{table(record[name])}\n"
        click.echo(table(record[name]))
    text += (
        f"\n{layers} layer(s) in the shape of the embedded model, random weights, float32, chunks of {_CHUNK} tokens, "
        f"blocks of {_BLOCK}; one core of {record['hardware']['cpu']}, {record['date'][:10]}; `scripts/bench-engine`. "
        "transformers' cache runs with its `sdpa` attention. Memory: one layer of one 64-wide head, two blocks on the "
        "device, the rest on disk; the process's peak is of its anonymous memory after each chunk.\n"
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "bench-engine.md", text.encode())
        write_atomically(out / "bench-engine.json", (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
