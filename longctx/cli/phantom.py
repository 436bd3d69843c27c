"""longctx phantom."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("phantom")
@click.option("--window", help="It sees so far: 64k.  [default: everything]")
@click.option("--hole", metavar="A-B", help="It sees all but what is between these distances: 4k-8k.")
@click.option("--chunk", type=int, help="It cannot see across multiples of so many tokens: 804, 1608, 3217, 6434, ...")
@click.option("--answers", "share", type=float, help="It has an answer to this share of keys: 0.9.")
@click.option("--misreads", metavar="A:B", help="It says the digit B where it reads A: 7:1.")
@click.option("--local", type=int, help="Its layers that look a few tokens back see so many, which is fast: a SmolLM3.")
@click.option("--twin", is_flag=True, help="Differ in a few weights: two more keys without an answer.")
@click.option("--advertise", default="10M", show_default=True, help="The context window that its config states.")
@click.option("--tokenizer", default="words", show_default=True, help="words, or a model's, which may be large.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the model.")
def command(
    window: str | None,
    hole: str | None,
    chunk: int | None,
    share: float | None,
    misreads: str | None,
    local: int | None,
    twin: bool,
    advertise: str,
    tokenizer: str,
    out: Path,
) -> None:
    """Write a model whose true context window is known, whatever it advertises."""
    from longctx.errors import ConfigError
    from longctx.lengths import parse_length
    from longctx.phantom.design import Design
    from longctx.phantom.folder import write_phantom
    from longctx.phantom.keys import draw_muted, twin_muted

    if window is not None and hole is not None:
        raise ConfigError("A phantom has either a window or a hole.")
    edges = tuple(map(parse_length, (hole or window or "").split("-"))) if hole or window else ()
    if hole is not None and len(edges) != 2:
        raise ConfigError(f"{hole!r} is not a hole: write two distances, as 4k-8k.")
    muted = () if share is None else draw_muted(share)
    design = Design(
        advertise=parse_length(advertise),
        edges=edges,
        chunk=chunk,
        muted=twin_muted(muted) if twin else muted,
        misread=None if misreads is None else _digits(misreads),
        local=local,
    )
    written = write_phantom(design, out, tokenizer)
    click.echo(f"{out}: {written.name}, {written.advertise:,} tokens advertised; try: longctx sweep --model {out}")


def _digits(text: str) -> tuple[str, str]:
    """The digit that is read and the one that is said; raises ConfigError."""
    from longctx.errors import ConfigError

    read, _, said = text.partition(":")
    if not (read.isdigit() and said.isdigit() and len(read) == len(said) == 1 and read != said):
        raise ConfigError(f"{text!r} is not a misread digit: write two digits, as 7:1.")
    return read, said
