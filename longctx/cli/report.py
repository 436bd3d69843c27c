"""longctx report."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: the run's own]")
@click.option(
    "--format",
    "formats",
    default="html,md,png,svg",
    show_default=True,
    help="Any of these, and csv, parquet, json; for other tools lm-eval, model-card, hub.",
)
@click.option("--title", help="Of the page and the pictures.  [default: the model and its window]")
@click.option("--theme", default="light", show_default=True, help="light or dark.")
@click.option("--hub-dataset", metavar="OWNER/NAME", help="Of --format hub: the benchmark's data set on the Hub.")
def command(
    runs: tuple[Path, ...], out: Path | None, formats: str, title: str | None, theme: str, hub_dataset: str | None
) -> None:
    """Draw the report of a run folder again, or of several side by side. Needs no torch.

    A results file of lm-evaluation-harness and RULER's folder of a model are drawn too, with --out.
    """
    from longctx.errors import ConfigError, UnknownNameError
    from longctx.exchange.read import read_results
    from longctx.exchange.write import EXCHANGE_FORMATS, write_exchange
    from longctx.report.write import FORMATS, write_report
    from longctx.terminal.sweep import print_summary

    asked = [name.strip() for name in formats.split(",")]
    for name in asked:
        if name not in (*FORMATS, *EXCHANGE_FORMATS):
            raise UnknownNameError("format", name, (*FORMATS, *EXCHANGE_FORMATS))
    summaries = [read_results(run) for run in runs]
    if out is None and (len(runs) > 1 or summaries[0].manifest is None):
        raise ConfigError("Say with --out where the report is to be; only one run of longctx has a folder for it.")
    folder = out or runs[0]
    exchange = [name for name in asked if name in EXCHANGE_FORMATS]
    paths = write_report(summaries, folder, [name for name in asked if name not in exchange], title, theme)
    paths += write_exchange(summaries, folder, exchange, hub_dataset)
    for summary in summaries:
        print_summary(summary)
    click.echo("\n".join(f"wrote {path}" for path in paths))


def redraw(folder: Path) -> None:
    """Write the report of a run folder and print its table, its verdict, and what its canaries showed."""
    from longctx.addressable import addressable
    from longctx.report.write import read_summary, write_report
    from longctx.store import read_rows
    from longctx.terminal.endpoint import print_addressable
    from longctx.terminal.sweep import print_summary

    summary = read_summary(folder)
    write_report([summary], folder)
    print_summary(summary)
    if verdict := addressable(read_rows(folder)):
        print_addressable(verdict)
    click.echo(f"report: {folder / 'report.html'}")
