"""longctx calibrate."""

from __future__ import annotations

import os
from pathlib import Path

import click

from longctx.cli import options


@click.command("calibrate")
@click.option("--quick", is_flag=True, help="Every kind of phantom in seconds, at lengths of 3k and less.")
@click.option("--lengths", help="The longest prompts: ..128k.  [default: ..32k]")
@click.option("--backend", default="hf", show_default=True, help="What answers: hf.")
@options.add(options.device)
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: runs/calibrate-TIME]")
def command(quick: bool, lengths: str | None, backend: str, device: str | None, out: Path | None) -> None:
    """Sweep phantoms, and set what is measured against what they are designed to do. Exit code 1 if anything is off."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from longctx.calibrate.cases import full_cases, quick_cases
    from longctx.calibrate.page import write_calibration
    from longctx.calibrate.run import calibrate, find_backend
    from longctx.environment import utc_now
    from longctx.errors import ConfigError
    from longctx.lengths import parse_length
    from longctx.report.write import read_summary, write_report
    from longctx.terminal.calibrate import print_results

    if quick and lengths is not None:
        raise ConfigError("--quick has lengths of its own; leave out --lengths.")
    open_backend, longest = find_backend(backend), parse_length((lengths or "..32k").removeprefix(".."))
    cases = list(quick_cases() if quick else full_cases(longest))
    folder = out or Path("runs") / f"calibrate-{utc_now()[:19].replace(':', '')}"
    found = print_results(calibrate(cases, folder, open_backend, folder / "phantoms", device or "auto"), len(cases))
    for result in found:
        write_report([read_summary(folder / result.folder)], folder / result.folder)
    write_calibration(found, folder)
    click.echo(f"page: {folder / 'calibration.html'}")
    if not all(result.ok for result in found):
        raise SystemExit(1)
