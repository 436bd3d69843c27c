"""longctx calibrate."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from longctx.cli import options

if TYPE_CHECKING:
    from longctx.calibrate.cases import Case
    from longctx.calibrate.run import OpenBackend


@click.command("calibrate")
@click.option("--quick", is_flag=True, help="Every kind of phantom in seconds, at lengths of 3k and less.")
@click.option("--lengths", help="The longest prompts: ..128k.  [default: ..32k, ..8k of a server]")
@click.option("--backend", default="hf", show_default=True, help="What answers: hf, or endpoint for a server.")
@click.option(
    "--base-url",
    help="Of a server that loads the folder that a request names as its model.  [default: start transformers serve]",
)
@click.option("--only", metavar="PATTERN", help="Cases whose names match: 'window-64k-*'.  [default: all]")
@options.add(options.device)
@click.option("--processes", type=click.IntRange(1), help="Cases at a time.  [default: one for each core of a CPU]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: runs/calibrate-TIME]")
def command(
    quick: bool,
    lengths: str | None,
    backend: str,
    base_url: str | None,
    only: str | None,
    device: str | None,
    processes: int | None,
    out: Path | None,
) -> None:
    """Sweep phantoms, and set what is measured against what they are designed to do. Exit code 1 if anything is off."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from longctx.calibrate.page import write_calibration
    from longctx.calibrate.parallel import calibrate_in_parallel, choose_processes
    from longctx.engine.loading import choose_device
    from longctx.environment import utc_now
    from longctx.report.write import read_summary, write_report
    from longctx.terminal.calibrate import print_results

    cases = _matching(_choose_cases(quick, lengths, backend, base_url), only)
    folder = out or Path("runs") / f"calibrate-{utc_now()[:19].replace(':', '')}"
    place = choose_device(device or "auto")
    at_a_time = processes or (choose_processes(place) if backend == "hf" else 1)
    with _open(backend, base_url, folder, place, cases) as open_backend:
        results = calibrate_in_parallel(cases, folder, open_backend, folder / "phantoms", place, at_a_time)
        found = print_results(results, len(cases))
    for result in found:
        write_report([read_summary(folder / result.folder)], folder / result.folder, ["html"])
    write_calibration(found, folder)
    click.echo(f"page: {folder / 'calibration.html'}")
    if not all(result.ok for result in found):
        raise SystemExit(1)


def _choose_cases(quick: bool, lengths: str | None, backend: str, base_url: str | None) -> list[Case]:
    """The cases of these options; raises ConfigError for options that do not go together."""
    from longctx.calibrate.cases import full_cases, quick_cases, through_server
    from longctx.calibrate.served import OWN_SERVER
    from longctx.config import check_base_url
    from longctx.errors import ConfigError, UnknownNameError
    from longctx.lengths import parse_length

    if backend not in ("hf", "endpoint"):
        raise UnknownNameError("backend", backend, ("hf", "endpoint"))
    if quick and lengths is not None:
        raise ConfigError("--quick has lengths of its own; leave out --lengths.")
    if base_url is not None and backend != "endpoint":
        raise ConfigError("A base URL is for a server: add --backend endpoint.")
    if base_url is not None:
        check_base_url(base_url)
    longest = parse_length((lengths or ("..8k" if backend == "endpoint" else "..32k")).removeprefix(".."))
    cases = list(quick_cases() if quick else full_cases(longest))
    return through_server(cases, base_url or OWN_SERVER) if backend == "endpoint" else cases


def _matching(cases: list[Case], only: str | None) -> list[Case]:
    """The cases whose names match a pattern; raises ConfigError where none does."""
    from longctx.errors import ConfigError

    found = [case for case in cases if only is None or fnmatch.fnmatchcase(case.name, only)]
    if not found:
        raise ConfigError(f"No case matches {only!r}. There are {', '.join(case.name for case in cases)}.")
    return found


def _open(
    backend: str, base_url: str | None, folder: Path, device: str, cases: list[Case]
) -> contextlib.AbstractContextManager[OpenBackend]:
    """What answers, for as long as it is open: this process, a server that is named, or one that is started here."""
    from longctx.calibrate.run import open_hf
    from longctx.calibrate.served import asking, serving

    if backend == "hf":
        return contextlib.nullcontext(open_hf)
    if base_url:
        return contextlib.nullcontext(asking(base_url))
    return serving(folder / "server.log", device, max(max(case.config.lengths) for case in cases))
