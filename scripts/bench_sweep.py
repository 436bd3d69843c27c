"""longctx against prompt-by-prompt `model.generate`: same prompts, same model, same process, one core each.

Prints, for a packed and an isolated grid of 5 lengths by 5 depths, the CPU seconds and the prefilled
tokens of both and their ratio, and how many answers agree. The baseline is what a plain evaluation
script does: transformers' own attention and cache, one prompt after the other, stopped as soon as the
answer is complete. The last line of standard output is the result as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from transformers import StoppingCriteria

from longctx import environment
from longctx.backends.hf import make_tiers
from longctx.config import KvBudget, SweepConfig
from longctx.engine.completion import Finisher, end_ids
from longctx.engine.engine import Engine
from longctx.engine.loading import LoadedModel, ModelCard, load_model, read_card
from longctx.engine.sources import find_source, prepare
from longctx.files import write_atomically
from longctx.lengths import format_length, parse_lengths
from longctx.records import Design, Prompt, Sample
from longctx.samples import make_samples
from longctx.sweep.plan import resolve


@dataclasses.dataclass(frozen=True)
class Side:
    """What one way of answering the prompts took."""

    cpu_seconds: float
    num_prefilled_tokens: int
    texts: dict[str, str]


def timed(run: Callable[[], tuple[int, dict[str, str]]]) -> Side:
    start = time.process_time()
    num_tokens, texts = run()
    return Side(time.process_time() - start, num_tokens, texts)


def run_longctx(loaded: LoadedModel, card: ModelCard, config: SweepConfig, samples: Sequence[Sample]) -> Side:
    def run() -> tuple[int, dict[str, str]]:
        tiers = make_tiers(loaded, config, KvBudget())
        engine = Engine(loaded.model, card.tokenizer.decode, card.shape, config.chunk, tiers, config.batch_tokens)
        drafts = {sample.id: sample.draft_ids for sample in samples}
        answers = list(engine.answers([sample.prompt for sample in samples], drafts))
        if any(answer.status != "ok" for answer in answers):
            raise SystemExit(f"failed: {[answer.error for answer in answers if answer.error]}")
        return sum(a.num_prefilled_tokens for a in answers), {a.prompt_id: a.text for a in answers}

    return timed(run)


class Complete(StoppingCriteria):  # type: ignore[misc] # transformers is untyped
    """Ends a generation where longctx would."""

    def __init__(self, finisher: Finisher, prompt: Prompt) -> None:
        self._finisher, self._prompt = finisher, prompt

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        tokens = input_ids[0, self._prompt.num_tokens :].tolist()
        return torch.tensor([self._finisher.finish(tokens, self._prompt) is not None])


def run_generate(model: Any, card: ModelCard, samples: Sequence[Sample]) -> Side:
    finisher = Finisher(card.tokenizer.decode, end_ids(model))

    def run() -> tuple[int, dict[str, str]]:
        texts = {}
        for sample in samples:
            prompt = sample.prompt
            ids = torch.from_numpy(prompt.token_ids().astype("int64"))[None]
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=prompt.max_new_tokens,
                do_sample=False,
                stopping_criteria=[Complete(finisher, prompt)],
            )
            completion = finisher.finish(output[0, ids.shape[1] :].tolist(), prompt)
            texts[sample.id] = completion.text if completion else ""
        return sum(sample.prompt.num_tokens for sample in samples), texts

    return timed(run)


def compare(card: ModelCard, config: SweepConfig) -> dict[str, Any]:
    samples = make_samples(config, card.tokenizer)
    ours = load_model(card, config.dtype, config.device)
    plain = load_model(card, config.dtype, config.device).model
    plain.set_attn_implementation("sdpa")
    short = [sample for sample in samples if sample.cell.length == min(config.lengths)]
    run_longctx(ours, card, config, short)  # warm-up
    run_generate(plain, card, short[:2])
    mine, other = run_longctx(ours, card, config, samples), run_generate(plain, card, samples)
    return {
        "design": config.design,
        "lengths": [format_length(length) for length in config.lengths],
        "num_prompts": len(samples),
        "dtype": config.dtype,
        "chunk": config.chunk,
        "longctx_cpu_seconds": round(mine.cpu_seconds, 1),
        "generate_cpu_seconds": round(other.cpu_seconds, 1),
        "cpu_ratio": round(other.cpu_seconds / mine.cpu_seconds, 2),
        "longctx_prefilled_tokens": mine.num_prefilled_tokens,
        "generate_prefilled_tokens": other.num_prefilled_tokens,
        "token_ratio": round(other.num_prefilled_tokens / mine.num_prefilled_tokens, 2),
        "num_same_answers": sum(mine.texts[name] == other.texts[name] for name in other.texts),
    }


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| design | lengths | prompts | CPU s longctx | CPU s generate | ratio "
        "| prefilled longctx | generate | ratio | same answers |",
        "|:--|:--|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        lines.append(
            f"| {r['design']} | {', '.join(r['lengths'])} | {r['num_prompts']} | {r['longctx_cpu_seconds']} | "
            f"{r['generate_cpu_seconds']} | **{r['cpu_ratio']}** | {r['longctx_prefilled_tokens']:,} | "
            f"{r['generate_prefilled_tokens']:,} | **{r['token_ratio']}** | {r['num_same_answers']} |"
        )
    return "\n".join(lines)


@click.command()
@click.option("--model", default=SweepConfig().model, show_default=True)
@click.option("--packed-lengths", default="2k,3k,4k,5k,6k", show_default=True)
@click.option("--isolated-lengths", default="512..4k", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for bench-sweep.md and bench-sweep.json.")
def main(model: str, packed_lengths: str, isolated_lengths: str, out: Path | None) -> None:
    """Measure longctx against prompt-by-prompt generate."""
    torch.set_num_threads(1)
    card = read_card(prepare(find_source(model)))
    results = []
    grids: dict[Design, str] = {"packed": packed_lengths, "isolated": isolated_lengths}
    for design, lengths in grids.items():
        asked = SweepConfig(
            model=model,
            lengths=parse_lengths(lengths),
            trials=1,
            design=design,
            device="cpu",
            controls=False,
        )
        results.append(compare(card, resolve(asked, card)))
        click.echo(table(results[-1:]))
    record: dict[str, Any] = {
        "model": card.source.name,
        "date": environment.utc_now(),
        "code": environment.code_version(),
        "packages": environment.packages(),
        "hardware": environment.hardware(),
        "results": results,
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        hardware = record["hardware"]
        text = (
            f"# longctx against prompt-by-prompt generate\n\n{table(results)}\n\n"
            f"{card.source.name}, one core of {hardware['cpu']}, {record['date'][:10]}; `scripts/bench-sweep`. "
            "One run of each side, one after the other in one process; one trial, so figures from another seed or "
            "machine will differ. The grid decides most of it: the more lengths and depths, the more is shared.\n"
        )
        write_atomically(out / "bench-sweep.md", text.encode())
        write_atomically(out / "bench-sweep.json", json.dumps(record, indent=2).encode() + b"\n")
    click.echo(json.dumps(record))


if __name__ == "__main__":
    main()
