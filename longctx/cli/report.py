"""longctx report."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Draw the report of a run folder again, from its rows. Needs no torch."""
    redraw(folder)


def redraw(folder: Path) -> None:
    """Write the report of a run folder and print its table, its verdict, and what its canaries showed."""
    from longctx.addressable import addressable
    from longctx.report.pages import write_report
    from longctx.store import read_rows
    from longctx.terminal.endpoint import print_addressable
    from longctx.terminal.sweep import print_summary

    print_summary(write_report(folder), folder)
    if verdict := addressable(read_rows(folder)):
        print_addressable(verdict)
