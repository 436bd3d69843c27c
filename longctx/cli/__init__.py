"""The command line: a file for each command. Everything heavy is imported inside them, so that --help is instant."""

from __future__ import annotations

from typing import Any

import click

from longctx import __version__
from longctx.cli import calibrate, check, compare, generate, haystack, phantom, plan, power, report, sweep, tasks
from longctx.errors import LongctxError

_INTERRUPTED = 130


class _Commands(click.Group):
    """Errors that longctx raises on purpose end with their message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LongctxError as error:
            click.secho(f"longctx: {error}", fg="red", err=True)
            raise SystemExit(2) from error
        except KeyboardInterrupt:
            click.echo("\nStopped. Every finished sample is kept; the same command goes on from there.", err=True)
            raise SystemExit(_INTERRUPTED) from None


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="longctx")
def main() -> None:
    """Measure what a model's advertised context window is worth."""


for _module in (sweep, compare, plan, power, check, calibrate, phantom, report, generate, tasks, haystack):
    main.add_command(_module.command)
