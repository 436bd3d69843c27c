"""How often compare raises a false alarm, and what it finds: simulated sources, and real weights made worse.

Simulated: a source is a distribution over answers, log-probabilities and texts for each probe, with noise of its own;
two sources that are the same differ in their draws alone. Real: the embedded model against itself with its weights
rounded to 8 and 4 bits as GGUF does it, and against itself with the question in another frame; and a phantom against
its twin, which differs in four weights.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from longctx import environment
from longctx.backends.endpoint.protocol import TokenLogprob
from longctx.backends.hf import make_tiers
from longctx.compare.judge import Side, judge
from longctx.compare.local import LocalSource, load_local
from longctx.compare.probes import make_probes
from longctx.compare.records import Comparison, Go, Probe, Said, Taken
from longctx.compare.source import take
from longctx.config import KvBudget, SweepConfig
from longctx.engine.loading import load_model, read_card
from longctx.engine.reader import Reader
from longctx.engine.sources import find_source, prepare
from longctx.files import write_atomically
from longctx.generate import find_tokenizer
from longctx.phantom.design import Design
from longctx.phantom.folder import write_phantom
from longctx.phantom.keys import share_answered, twin_muted
from longctx.statistics import wilson
from longctx.statistics.power import smallest_drop

_LETTERS = np.array(list("abcdefgh"))
_LENGTHS = (1024, 32768)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What makes one simulated source: all sources share the probes' own difficulty and wording."""

    accuracy: float = 0.7
    """Mean over probes."""
    noise: float = 0.02
    """Standard deviation of log-probabilities between two requests, in nats: kernels, batches."""
    shift: float = 0.0
    """By which log-probabilities are off, in nats."""
    flip: float = 0.02
    """Chance that a greedy text parts from the usual one for no reason."""
    drift: float = 0.0
    """Share of samples that come from another distribution."""


def simulate(source: Simulated, num_items: int, probes: int, go: int) -> list[Taken]:
    """One pass over `num_items` probes at each length; `probes` and `go` seed what is shared and what is not."""
    taken = []
    for length in _LENGTHS:
        for item in range(num_items):
            own = np.random.default_rng((probes, length, item))
            rng = np.random.default_rng((probes, length, item, go))
            difficulty = own.normal()
            right = rng.random() < 1 / (1 + np.exp(difficulty - 1.4 * np.log(source.accuracy / (1 - source.accuracy))))
            usual, other = "".join(own.choice(_LETTERS, 40)), "".join(rng.choice(_LETTERS, 40))
            cut = int(rng.integers(40)) if rng.random() < source.flip else 40
            text = usual[:cut] + other[cut:]
            noise = rng.normal(0, source.noise, 40)
            logprobs = tuple(
                TokenLogprob(letter, p, {})
                for letter, p in zip(text, (own.uniform(-3, 0, 40) + source.shift + noise).tolist(), strict=True)
            )
            shares = own.dirichlet(np.ones(6))
            texts = ["".join(own.choice(_LETTERS, 40)) for _ in range(6)]
            drawn = [other if rng.random() < source.drift else texts[i] for i in rng.choice(6, size=10, p=shares)]
            answer = Said("ok", "right" if right else "wrong")
            said = Said("ok", text, logprobs)
            taken.append(Taken(f"{length}/{item}", length, float(right), answer, said, tuple(drawn)))
    return taken


def compare_simulated(b: Simulated, num_items: int, number: int) -> Comparison:
    """The reference source, twice, against `b`."""
    passes = [simulate(source, num_items, number, go) for go, source in enumerate((Simulated(), Simulated(), b))]
    first, second, other = (Side(name, {}, taken) for name, taken in zip("AAB", passes, strict=True))
    return judge(first, second, other, seed=number)


def outcomes(b: Simulated, num_items: int, num_runs: int) -> dict[str, Any]:
    """How often each outcome came, and which tests showed it."""
    found = [compare_simulated(b, num_items, number) for number in range(num_runs)]
    counts = Counter(comparison.outcome for comparison in found)
    interval = wilson(counts["difference"], num_runs)
    tests = Counter(test for comparison in found for test in {f.test for f in comparison.shown})
    return {
        "source": dataclasses.asdict(b),
        "items": num_items,
        "runs": num_runs,
        **{outcome: counts[outcome] for outcome in ("difference", "none", "unclear")},
        "low": interval.low,
        "high": interval.high,
        "by_test": dict(tests),
    }


def rounded(model: Any, kind: str) -> Any:
    """The same model with its matrices rounded as GGUF's `kind` does it; norms and embeddings stay, as there."""
    import gguf
    import torch

    worse = copy.deepcopy(model)
    quantised = getattr(gguf.GGMLQuantizationType, kind)
    for name, weight in worse.named_parameters():
        if weight.ndim == 2 and "embed" not in name and "lm_head" not in name:
            blocks = gguf.quants.quantize(weight.detach().numpy(), quantised)
            weight.data = torch.from_numpy(gguf.quants.dequantize(blocks, quantised).copy())
    return worse


def ask_sides(
    sources: Mapping[str, tuple[LocalSource, Sequence[Probe]]], num_samples: int, seed: int
) -> tuple[Side, Side, list[Side]]:
    """What the first source says in two passes, and what all say in one of B's, with its probes' numbers as names."""

    def side(name: str, go: Go) -> Side:
        click.echo(f"asking {name}", err=True)
        source, probes = sources[name]
        taken = take(source, probes, num_samples, seed, go)
        return Side(name, {}, [dataclasses.replace(one, probe=str(number)) for number, one in enumerate(taken)])

    model = next(iter(sources))
    return side(model, "first"), side(model, "second"), [side(name, "other") for name in sources]


def accuracy(side: Side) -> float:
    """Share of right answers."""
    return float(np.mean([taken.score == 1.0 for taken in side.taken]))


def compare_weights(config: SweepConfig, num_items: int, num_samples: int) -> list[dict[str, Any]]:
    """The embedded model against itself, worse copies of itself, and itself with another template."""
    card = read_card(prepare(find_source(config.model)))
    loaded = load_model(card, "float32", "cpu", num_tokens=max(config.lengths))
    usual = make_probes(config, card.tokenizer, num_items)
    plain = make_probes(dataclasses.replace(config, template="plain"), card.tokenizer, num_items)

    def source(model: Any) -> LocalSource:
        tiers = make_tiers(loaded, config, KvBudget())
        return LocalSource("", Reader(model, card.tokenizer.decode, card.shape, tiers), {})

    itself = source(loaded.model)
    sources = {
        "itself": (itself, usual),
        "itself in Q8_0": (source(rounded(loaded.model, "Q8_0")), usual),
        "itself in Q4_0": (source(rounded(loaded.model, "Q4_0")), usual),
        "itself without its chat template": (itself, plain),
    }
    first, second, others = ask_sides(sources, num_samples, config.seed)
    judged = [(other.name, judge(first, second, other, seed=config.seed)) for other in others]
    return [{"b": name, "accuracy_a": accuracy(first), **dataclasses.asdict(found)} for name, found in judged]


def compare_twins(num_items: int, length: int) -> list[dict[str, Any]]:
    """A phantom that sees everything against itself, and against its twin, which two words of keys leave mute."""
    sibling = Design(1 << 17)
    twin = dataclasses.replace(sibling, muted=twin_muted(()))
    config = SweepConfig(lengths=(length,), template="plain", dtype="float32", device="cpu", beyond_window=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, design.name) for design in (sibling, twin)]
        for design, path in zip((sibling, twin), paths, strict=True):
            write_phantom(design, path)
        tokenizer = find_tokenizer(str(paths[0]))
        probes = make_probes(config, tokenizer, num_items)
        sources = {path.name: (load_local(str(path), config, tokenizer), probes) for path in paths}
        first, second, others = ask_sides(sources, 0, config.seed)
    judged = [(other.name, judge(first, second, other, seed=config.seed)) for other in others]
    return [{"b": name, **dataclasses.asdict(found)} for name, found in judged]


def least_lost(num_tests: int, alpha: float = 0.05) -> int:
    """Answers that B alone must miss before McNemar's test shows it, after Holm over so many tests of which the
    others show nothing."""
    return next(lost for lost in itertools.count(1) if num_tests * min(1.0, 2 * 0.5**lost) < alpha)


def chance_to_find(num_items: int, share: float, num_tests: int) -> float:
    """That McNemar's test shows a B that misses this share of answers, of an A that misses none."""
    from scipy.stats import binom

    return float(binom.sf(least_lost(num_tests) - 1, num_items, share))


SIMULATED = {
    "the same": Simulated(),
    "accuracy 0.6 for 0.7": Simulated(accuracy=0.6),
    "accuracy 0.5 for 0.7": Simulated(accuracy=0.5),
    "log-probabilities off by 0.01 nats": Simulated(shift=0.01),
    "log-probabilities off by 0.05 nats": Simulated(shift=0.05),
    "2 % of samples from elsewhere": Simulated(drift=0.02),
    "10 % of samples from elsewhere": Simulated(drift=0.10),
    "1 greedy text in 10 parts, for 1 in 50": Simulated(flip=0.10),
}


def simulated_table(rows: dict[str, dict[str, Any]], command: str) -> str:
    """The report on simulated sources, in Markdown."""
    lines = ["# What compare finds in simulated sources", "", f"    {command}", ""]
    lines += ["Two lengths, 10 samples a probe, level 0.05 after Holm's correction over 8 tests; A is taken twice.", ""]
    lines += ["| B against A | probes a length | runs | difference shown | 95 % interval | could not tell |"]
    lines += ["|:--|--:|--:|--:|--:|--:|"]
    for name, row in rows.items():
        shown = f"{row['difference']} ({row['difference'] / row['runs']:.1%})"
        interval = f"{row['low']:.1%} to {row['high']:.1%}"
        lines.append(f"| {name} | {row['items']} | {row['runs']} | {shown} | {interval} | {row['unclear']} |")
    return "\n".join([*lines, ""])


def findings_table(rows: list[dict[str, Any]]) -> list[str]:
    """All tests of all comparisons, in Markdown."""
    lines = ["| B | outcome | test | length | n | effect | 95 % interval | p, corrected |"]
    lines += ["|:--|:--|:--|--:|--:|--:|--:|--:|"]
    for one in rows:
        for f in one["findings"]:
            effect = f"{f['effect']:.4g} {f['unit']} | {f['low']:.4g} to {f['high']:.4g} | {f['p_corrected']:.4f}"
            lines.append(f"| {one['b']} | {one['outcome']} | {f['test']} | {f['length']:,} | {f['num']} | {effect} |")
    return lines


def weights_table(rows: list[dict[str, Any]], command: str) -> str:
    """The report on real weights, in Markdown."""
    lines = ["# What compare finds in real weights", "", f"    {command}", ""]
    lines += ["SmolLM2-135M-Instruct against itself, float32, transformers with our attention.", ""]
    lines += [*findings_table(rows), ""]
    right, num = rows[0]["accuracy_a"], rows[0]["num_probes"]
    drop = smallest_drop(num, right, alpha=0.05 / len(rows[0]["findings"])) if right else None
    found = "no drop in accuracy at all" if drop is None else f"a drop of {100 * drop:.0f} points"
    lines += [f"A was right in {right:.0%}. From there McNemar's test on {num} independent pairs finds {found} four"]
    lines += ["times in five, at 0.05 over the number of tests. The other tests stand on intervals of their own."]
    return "\n".join([*lines, ""])


def twins_table(rows: list[dict[str, Any]], command: str) -> str:
    """The report on twin phantoms, in Markdown."""
    share, num_tests = 1 - share_answered(twin_muted(())), len(rows[0]["findings"])
    lines = ["# What compare finds in twin phantoms", "", f"    {command}", ""]
    lines += [
        "Two models with constructed weights that differ in four of them: the twin has no answer to keys that end"
    ]
    lines += [f"with one of two words, {share:.1%} of all. Texts to go on with tell nothing, since both say nothing."]
    lines += ["", *findings_table(rows), ""]
    lines += [f"McNemar's test shows the twin from {least_lost(num_tests)} answers on that it alone misses, with"]
    lines += [f"{num_tests} tests to correct for. The chance that so many of the questions are about those keys:", ""]
    lines += ["| probes | chance to find the twin |", "|--:|--:|"]
    lines += [f"| {num} | {chance_to_find(num, share, num_tests):.1%} |" for num in (50, 100, 200, 400, 800)]
    return "\n".join([*lines, ""])


def write(out: Path, name: str, text: str, kept: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / f"{name}.md", text.encode())
    write_atomically(out / f"{name}.json", json.dumps(kept, indent=1).encode() + b"\n")


@click.group()
def main() -> None:
    """Measure what `longctx compare` finds."""


_OUT = click.option("--out", type=click.Path(path_type=Path), default=Path("reports/bench-compare"), show_default=True)


@main.command("simulated")
@click.option("--runs", type=int, default=200, show_default=True, help="Of sources that are the same.")
@click.option("--power-runs", type=int, default=20, show_default=True, help="Of each kind that is not.")
@click.option("--items", type=int, default=25, show_default=True, help="Probes at each length.")
@_OUT
def simulated_command(runs: int, power_runs: int, items: int, out: Path) -> None:
    """False alarms and power, at the level of what sources say."""
    command = f"scripts/bench-compare simulated --runs {runs} --power-runs {power_runs} --items {items}"
    rows = {}
    for name, source in SIMULATED.items():
        rows[name] = outcomes(source, items, runs if source == Simulated() else power_runs)
        click.echo(f"{name}: {rows[name]}", err=True)
        write(out, f"simulated-{items}", simulated_table(rows, command), {"command": command, "rows": rows})


@main.command("weights")
@click.option("--items", type=click.IntRange(min=5), default=8, show_default=True, help="Probes.")
@click.option("--samples", type=int, default=2, show_default=True)
@click.option("--length", type=int, default=200, show_default=True, help="Tokens of a prompt.")
@_OUT
def weights_command(items: int, samples: int, length: int, out: Path) -> None:
    """The embedded model against itself, rounded, and in another template."""
    command = f"scripts/bench-compare weights --items {items} --samples {samples} --length {length}"
    rows = compare_weights(SweepConfig(lengths=(length,), template="chat"), items, samples)
    kept = {"command": command, "rows": rows, "hardware": environment.hardware()}
    write(out, "weights", weights_table(rows, command), kept)


@main.command("twins")
@click.option("--items", type=click.IntRange(min=5), default=400, show_default=True, help="Probes.")
@click.option("--length", type=int, default=256, show_default=True, help="Tokens of a prompt.")
@_OUT
def twins_command(items: int, length: int, out: Path) -> None:
    """A phantom against itself, and against its twin."""
    command = f"scripts/bench-compare twins --items {items} --length {length}"
    rows = compare_twins(items, length)
    write(out, "twins", twins_table(rows, command), {"command": command, "rows": rows})


if __name__ == "__main__":
    main()
