"""The command line. Everything heavy is imported inside the commands, so that --help is instant."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx import __version__
from longctx.errors import ConfigError, LongctxError

if TYPE_CHECKING:
    from longctx.config import KvBudget, SweepConfig
    from longctx.engine.loading import ModelCard
    from longctx.engine.machine import Stated
    from longctx.records import Sample
    from longctx.sweep.shard import Shard

_MAX_UNASKED_SECONDS = 3600
_INTERRUPTED = 130


@contextmanager
def _errors_as_exit_code() -> Iterator[None]:
    """Errors that longctx raises on purpose end with their message and exit code 2."""
    try:
        yield
    except LongctxError as error:
        click.secho(f"longctx: {error}", fg="red", err=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        click.echo("\nStopped. Every finished sample is kept; the same command goes on from there.", err=True)
        raise SystemExit(_INTERRUPTED) from None


@click.group()
@click.version_option(__version__, prog_name="longctx")
def main() -> None:
    """Measure what a model's advertised context window is worth."""


def _sweep_options(command: Callable[..., None]) -> Callable[..., None]:
    """Every field of SweepConfig as an option; what is not given stays None."""
    options = [
        click.option("--model", help="Alias, local folder, hub name or .gguf file.  [default: smollm2-135m-instruct]"),
        click.option("--task", help="Tasks with options: niah_single:digits=5[,..].  [default: niah_single]"),
        click.option(
            "--lengths", help="512..8k doubles, 1k,4k,8k lists.  [default: 1k to the window, and one past it]"
        ),
        click.option("--depths", help="A count, or a list of 0.0 to 1.0.  [default: 5]"),
        click.option("--trials", type=int, help="Repeats of every cell with other text and values.  [default: 3]"),
        click.option(
            "--design", help="isolated: a document for every cell; packed: one for a trial.  [default: isolated]"
        ),
        click.option("--seed", type=int, help="Of everything drawn.  [default: 0]"),
        click.option(
            "--haystack",
            help="narrator, fiction, python, a fetched corpus, files:FOLDER_OR_GLOB, or mix:A=0.7,B=0.3.  "
            "[default: narrator]",
        ),
        click.option("--template", help="auto, chat or plain.  [default: auto]"),
        click.option("--dtype", help="auto, float32, bfloat16 or float16.  [default: auto]"),
        click.option("--device", help="auto, cpu, cuda, cuda:1, ...  [default: auto]"),
        click.option("--attention", help="auto, fa4, fa3, fa2, cudnn, flash or reference.  [default: auto]"),
        click.option("--rope", help="model, or float64 for exact angles beyond 1M tokens.  [default: model]"),
        click.option("--chunk", help="Prefill chunk in tokens, or auto.  [default: auto]"),
        click.option(
            "--batch-tokens", type=int, help="Tokens of questions that are read in one batch.  [default: 8192]"
        ),
        click.option("--beyond-window", is_flag=True, default=None, help="Allow lengths over the advertised window."),
        click.option("--allow-repeats", is_flag=True, default=None, help="Let a short haystack say the same again."),
        click.option("--controls/--no-controls", default=None, help="Ask without haystack too.  [default: controls]"),
        click.option("--trust-remote-code", is_flag=True, default=None, help="Run code that comes with the model."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _kv_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where keys and values may live."""
    options = [
        click.option(
            "--kv-device", metavar="SIZE", help="Keys and values on the device: 20GiB.  [default: what is free]"
        ),
        click.option("--kv-host", metavar="SIZE", help="Beside a GPU, in host memory.  [default: what is free]"),
        click.option(
            "--kv-disk",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder on a fast disk for the rest; a killed run goes on from there.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@_sweep_options
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file with any of the above.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/MODEL-HASH]")
@click.option("--dry-run", is_flag=True, help="Print the plan and load no weights.")
@click.option("--yes", is_flag=True, help="Start a plan of many hours without asking.")
@_kv_options
@click.option("--shard", metavar="I/N", help="Run part I of N, with rows of its own.  [default: as launched, or all]")
def sweep(
    config_file: Path | None,
    out: Path | None,
    dry_run: bool,
    yes: bool,
    kv_device: str | None,
    kv_host: str | None,
    kv_disk: Path | None,
    shard: str | None,
    **flags: Any,
) -> None:
    """Measure a model over a grid of lengths and depths, and draw the report."""
    # Before torch is loaded: waiting threads that spin slow a busy machine down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with _errors_as_exit_code():
        from longctx.config import KvBudget, resolve_config
        from longctx.sizes import parse_bytes
        from longctx.sweep.shard import launched_shard, parse_shard

        part = launched_shard() if shard is None else parse_shard(shard)
        device, host = (None if text is None else parse_bytes(text) for text in (kv_device, kv_host))
        _run_sweep(resolve_config(config_file, flags), KvBudget(device, host, kv_disk), part, out, dry_run, yes)


def _run_sweep(asked: SweepConfig, budget: KvBudget, shard: Shard, out: Path | None, dry_run: bool, yes: bool) -> None:
    from longctx.engine.loading import read_card
    from longctx.engine.sources import find_source, if_converted, prepare
    from longctx.engine.speed import prefill_rate
    from longctx.store import check_identity, read_rows
    from longctx.sweep.plan import make_plan, resolve, sample_cost
    from longctx.sweep.run import missing, samples_digest
    from longctx.terminal import print_plan, print_todo

    source = find_source(asked.model)
    # A dry run reads no weights, so it converts none.
    card = read_card(if_converted(source) if dry_run else prepare(source), asked.trust_remote_code)
    config = resolve(asked, card)
    folder = out or Path("runs") / f"{card.source.name.replace('/', '--')}-{config.digest()}"
    check_identity(folder, {"config": config.to_json()})
    plan = make_plan(config, card)
    identity = {"config": config.to_json(), "samples": samples_digest(plan.samples)}
    check_identity(folder, identity)
    todo = missing(shard.pick(plan.samples), read_rows(folder))
    flops = sample_cost(todo, config.chunk, card.shape).flops
    rate = prefill_rate(config.dtype, config.device)
    print_plan(plan, config, card, rate)
    print_todo(len(todo), len(plan.samples), flops / rate, folder)
    if dry_run:
        return
    if todo:
        if config.design == "isolated" and flops / rate > _MAX_UNASKED_SECONDS and not yes:
            _ask(flops / rate)
        _answer(todo, config, budget, shard, card, identity, folder, flops)
    if missing(plan.samples, read_rows(folder)) and shard.count > 1:
        click.echo(f"Part {shard.index} of {shard.count} is done; the report is drawn when all are.")
        return
    _report(folder)


def _ask(seconds: float) -> None:
    """Ask before an isolated sweep of more than an hour; raises ConfigError where nobody can answer."""
    question = f"This isolated sweep will take about {seconds / 3600:.1f} hours (packed: see above). Start it?"
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Add --yes, or choose --design packed or fewer lengths.")
    if not click.confirm(question):
        raise ConfigError("Not started.")


def _answer(
    todo: Sequence[Sample],
    config: SweepConfig,
    budget: KvBudget,
    shard: Shard,
    card: ModelCard,
    identity: dict[str, Any],
    path: Path,
    flops: int,
) -> None:
    """Load the model and answer the samples that have no score yet."""
    from longctx import environment
    from longctx.backends.hf import HuggingFaceBackend
    from longctx.store import RunFolder
    from longctx.sweep.run import run_samples
    from longctx.sweep.shard import launched_device
    from longctx.terminal import SweepProgress

    here = dataclasses.replace(config, device=launched_device(config.device))
    owner = str(path.resolve() / shard.rows_name)
    backend = HuggingFaceBackend(card, here, dataclasses.replace(budget, owner=owner))
    start = {
        "started": environment.utc_now(),
        "code": environment.code_version(),
        "packages": environment.packages(),
        "hardware": environment.hardware(),
        "checks": dict(backend.checks),
    }
    with (
        backend,
        RunFolder(path, {**identity, "model": backend.fingerprint}, start, shard.rows_name) as folder,
        SweepProgress(flops, len(todo)) as progress,
    ):
        run_samples(todo, config, card.window, backend, folder, progress.add_row, progress.add_flops)


def _report(folder: Path) -> None:
    from longctx.report.pages import write_report
    from longctx.terminal import print_summary

    print_summary(write_report(folder), folder)


@main.command()
@click.option("--model", help="Alias, local folder, hub name or .gguf file.  [default: smollm2-135m-instruct]")
@click.option("--lengths", help="8k..10M doubles, 8k,1M lists.  [default: 1k to the window, and one past it]")
@click.option("--gpus", type=click.IntRange(min=1), help="Of a machine that is not here, how many.  [default: 1]")
@click.option("--gpu-memory", metavar="SIZE", help="Of each of them: 80GiB.")
@click.option("--host-memory", metavar="SIZE", help="Beside them, for keys and values: 2TiB.")
@click.option("--tflops", type=float, help="What each of them reaches, in 10^12 operations a second.")
@click.option("--pcie", metavar="RATE", help="From host memory to each GPU: 50GB/s.")
@click.option("--hbm", metavar="RATE", help="Of each GPU's own memory.  [default: 3.35TB/s, or measured here]")
@click.option("--disk", metavar="SIZE", help="For keys and values, here or elsewhere: 4TB.")
@click.option("--nvme", metavar="RATE", help="Of that disk: 6GB/s.")
@click.option("--dtype", help="auto, float32, bfloat16 or float16.  [default: auto]")
@click.option("--questions", type=click.IntRange(min=1), default=15, show_default=True, help="Answered at a time.")
@click.option("--chunk", help="Prefill chunk in tokens, or auto.  [default: auto]")
@click.option("--trust-remote-code", is_flag=True, default=None, help="Run code that comes with the model.")
def plan(
    gpus: int | None,
    gpu_memory: str | None,
    host_memory: str | None,
    tflops: float | None,
    pcie: str | None,
    hbm: str | None,
    disk: str | None,
    nvme: str | None,
    questions: int,
    **flags: Any,
) -> None:
    """Say what lengths take on this machine, or on one that --gpu-memory and --tflops describe. Loads no weights."""
    with _errors_as_exit_code():
        from longctx.config import resolve_config
        from longctx.engine.machine import Stated
        from longctx.sizes import parse_bytes, parse_rate

        sizes = (None if text is None else parse_bytes(text) for text in (gpu_memory, host_memory, disk))
        rates = (None if text is None else parse_rate(text) for text in (pcie, hbm, nvme))
        _plan(resolve_config(None, flags), Stated(gpus, tflops, *sizes, *rates), questions)


def _plan(config: SweepConfig, stated: Stated, num_questions: int) -> None:
    from longctx.engine.cost import ITEM_BYTES
    from longctx.engine.loading import choose_device, choose_dtype, read_sizes
    from longctx.engine.machine import found_machine, stated_machine
    from longctx.engine.placement import Workload, place
    from longctx.engine.sources import find_source, if_converted
    from longctx.sweep.plan import choose_chunk, default_lengths
    from longctx.terminal import print_placements

    device = "cuda" if stated.is_elsewhere else choose_device("auto")
    dtype = choose_dtype(config.dtype, device)
    elsewhere = stated_machine(stated) if stated.is_elsewhere else None
    source = find_source(config.model)
    sizes = read_sizes(if_converted(source), config.trust_remote_code)
    lengths = config.lengths or default_lengths(sizes.window)
    chunk = config.chunk or choose_chunk(device, "isolated", lengths)
    work = Workload(sizes.shape, ITEM_BYTES[dtype], chunk, num_questions)
    machine = elsewhere or found_machine(stated, dtype, device)
    placements = [place(work, machine, length) for length in lengths]
    print_placements(source.name, sizes.window, work, machine, placements)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Draw the report of a run folder again, from its rows. Needs no torch."""
    with _errors_as_exit_code():
        _report(folder)


@main.command()
@click.option("--task", help="Tasks with options.  [default: niah_single]")
@click.option("--lengths", help="512..8k doubles, 1k,4k,8k lists.")
@click.option("--tokenizer", default="smollm2-135m-instruct", show_default=True, help="A model, or cl100k_base, ...")
@click.option("--depths", help="A count, or a list of 0.0 to 1.0.  [default: 5]")
@click.option("--trials", type=int, help="Repeats of every cell.  [default: 3]")
@click.option("--design", help="isolated or packed.  [default: isolated]")
@click.option("--seed", type=int, help="Of everything drawn.  [default: 0]")
@click.option(
    "--haystack",
    help="narrator, fiction, python, a fetched corpus, files:FOLDER_OR_GLOB, mix:A=0.7,B=0.3.  [default: narrator]",
)
@click.option("--template", help="auto, chat or plain.  [default: auto]")
@click.option("--allow-repeats", is_flag=True, default=None, help="Let a short haystack say the same again.")
@click.option("--controls/--no-controls", default=None, help="Controls too.  [default: controls]")
@click.option("--text/--ids", default=True, help="Prompts as text, or as token ids.  [default: text]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .jsonl file.")
def generate(tokenizer: str, text: bool, out: Path, **flags: Any) -> None:
    """Write the prompts of a grid as JSON lines. Needs no model weights."""
    with _errors_as_exit_code():
        from longctx.config import resolve_config
        from longctx.generate import find_tokenizer, write_prompts
        from longctx.samples import make_samples, resolve_grid

        config = resolve_grid(resolve_config(None, flags | {"model": tokenizer}))
        if not config.lengths:
            raise ConfigError("No lengths were named: add --lengths 8k..128k.")
        samples = make_samples(config, find_tokenizer(tokenizer))
        write_prompts(samples, out, ids=not text)
        click.echo(f"{len(samples)} prompts, {sum(s.prompt.num_tokens for s in samples):,} tokens: {out}")


@main.command()
@click.option("--model", help="Alias, local folder, hub name or .gguf file.  [default: smollm2-135m-instruct]")
@click.option("--dtype", help="auto, float32, bfloat16 or float16.  [default: auto, float32 where it fits]")
@click.option("--device", help="auto, cpu, cuda, cuda:1, ...  [default: auto]")
@click.option("--longest", default="32k", show_default=True, help="The longest prompt to read, as 8k or 1M.")
def check(longest: str, **flags: Any) -> None:
    """Is a failure the model's or the stack's? Exit code 1 if anything differs."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with _errors_as_exit_code():
        from longctx.check.run import check_model
        from longctx.config import resolve_config
        from longctx.engine.loading import read_card
        from longctx.engine.sources import find_source, prepare
        from longctx.lengths import parse_length
        from longctx.terminal import print_findings

        config, num_tokens = resolve_config(None, flags), parse_length(longest)
        card = read_card(prepare(find_source(config.model)))
        if print_findings(check_model(card, config.dtype, config.device, num_tokens)):
            raise SystemExit(1)


@main.command()
def tasks() -> None:
    """List the tasks: what each measures, and its options."""
    import dataclasses
    import inspect

    from longctx.tasks import task_classes

    for name, task in task_classes().items():
        options = " ".join(f"{field.name}={field.default}" for field in dataclasses.fields(task))
        first = (inspect.getdoc(inspect.getmodule(task)) or "").splitlines()[0]
        click.echo(f"{name:22} {task.measures:12} {options}\n{'':22} {first}")


@main.group()
def haystack() -> None:
    """Corpora that are fetched once: list them, fetch them."""


@haystack.command(name="list")
def list_haystacks() -> None:
    """List the corpora: size in SmolLM2's tokens, licence, and whether they are here."""
    with _errors_as_exit_code():
        from longctx.haystack.recipes import is_fetched, load_recipe, recipe_names

        for recipe in map(load_recipe, recipe_names()):
            here = "fetched" if is_fetched(recipe) else "-"
            click.echo(f"{recipe.name:20} {recipe.num_tokens:>10,} tokens  {here:8} {recipe.title} ({recipe.licence})")


@haystack.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Fetch a corpus from the package archives that this machine knows, and check its checksum."""
    with _errors_as_exit_code():
        from longctx.haystack.recipes import fetch as fetch_recipe

        written = fetch_recipe(name)
        for file in written:
            click.echo(f"{file.stat().st_size / 1e6:6.1f} MB  {file}")
        click.echo(f"Use it with --haystack {name}" if written else f"{name} is here already.")
