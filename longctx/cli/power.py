"""longctx power."""

from __future__ import annotations

import click


@click.command("power")
@click.option("--effect", type=float, default=0.1, show_default=True, help="Difference in accuracy: 0.1 is ten points.")
@click.option("--accuracy", type=float, default=0.9, show_default=True, help="The higher of the two.")
@click.option("--depths", type=click.IntRange(min=1), default=5, show_default=True, help="Samples of a trial.")
@click.option("--correlation", type=float, default=0.1, show_default=True, help="Of the scores in a trial.")
@click.option("--discordance", type=float, help="Share of pairs of which one is right.  [default: independent pairs]")
@click.option("--power", type=float, default=0.8, show_default=True, help="Probability of finding the difference.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Of finding one that is not there.")
def command(
    effect: float,
    accuracy: float,
    depths: int,
    correlation: float,
    discordance: float | None,
    power: float,
    alpha: float,
) -> None:
    """Say how many trials tell two lengths, or two models, apart."""
    from longctx.statistics.power import Comparison, needed_trials
    from longctx.terminal.power import print_needs

    comparison = Comparison(effect, accuracy, power, alpha, discordance)
    print_needs(comparison, needed_trials(comparison, depths, correlation), depths, correlation)
