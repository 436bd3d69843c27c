"""longctx report."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: the run's own]")
@click.option(
    "--format", "formats", default="html,md,png,svg", show_default=True, help="Any of them, and csv, parquet, json."
)
@click.option("--title", help="Of the page and the pictures.  [default: the model and its window]")
@click.option("--theme", default="light", show_default=True, help="light or dark.")
def command(runs: tuple[Path, ...], out: Path | None, formats: str, title: str | None, theme: str) -> None:
    """Draw the report of a run folder again, or of several side by side. Needs no torch."""
    from longctx.errors import ConfigError
    from longctx.report.write import read_summary, write_report
    from longctx.terminal.sweep import print_summary

    if len(runs) > 1 and out is None:
        raise ConfigError("A report of several runs belongs into no one's folder; say where with --out.")
    summaries = [read_summary(run) for run in runs]
    paths = write_report(summaries, out or runs[0], [name.strip() for name in formats.split(",")], title, theme)
    for summary in summaries:
        print_summary(summary)
    click.echo("\n".join(f"wrote {path}" for path in paths))


def redraw(folder: Path) -> None:
    """Write the report of a run folder and print its table and verdict."""
    from longctx.report.write import read_summary, write_report
    from longctx.terminal.sweep import print_summary

    summary = read_summary(folder)
    write_report([summary], folder)
    print_summary(summary)
    click.echo(f"report: {folder / 'report.html'}")
