"""longctx haystack."""

from __future__ import annotations

import click


@click.group("haystack")
def command() -> None:
    """Corpora that are fetched once: list them, fetch them."""


@command.command(name="list")
def list_haystacks() -> None:
    """List the corpora: size in SmolLM2's tokens, licence, and whether they are here."""
    from longctx.haystack.recipes import is_fetched, load_recipe, recipe_names

    for recipe in map(load_recipe, recipe_names()):
        here = "fetched" if is_fetched(recipe) else "-"
        size = "not counted" if recipe.num_tokens is None else f"{recipe.num_tokens:,} tokens"
        click.echo(f"{recipe.name:20} {size:>17}  {here:8} {recipe.title} ({recipe.licence})")


@command.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Fetch a corpus from the package archives that this machine knows, or the web, and check its checksum."""
    from longctx.haystack.recipes import fetch as fetch_recipe

    written = fetch_recipe(name)
    for file in written:
        click.echo(f"{file.stat().st_size / 1e6:6.1f} MB  {file}")
    click.echo(f"Use it with --haystack {name}" if written else f"{name} is here already.")
