"""Options that more than one command takes. What is not given stays None, and the config's default holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., None]

model = click.option("--model", help="Alias, local folder, hub name or .gguf file.  [default: smollm2-135m-instruct]")
task = click.option("--task", help="Tasks with options: niah_single:digits=5[,..].  [default: niah_single]")
depths = click.option("--depths", help="A count, or a list of 0.0 to 1.0.  [default: 5]")
trials = click.option("--trials", type=int, help="Repeats of every cell with other text and values.  [default: 3]")
design = click.option(
    "--design", help="isolated: a document for every cell; packed: one for a trial.  [default: isolated]"
)
seed = click.option("--seed", type=int, help="Of everything drawn.  [default: 0]")
haystack = click.option(
    "--haystack",
    help="narrator, fiction, python, a fetched corpus, files:FOLDER_OR_GLOB, or mix:A=0.7,B=0.3.  [default: narrator]",
)
template = click.option("--template", help="auto, chat or plain.  [default: auto]")
dtype = click.option("--dtype", help="auto, float32, bfloat16 or float16.  [default: auto]")
device = click.option("--device", help="auto, cpu, cuda, cuda:1, ...  [default: auto]")
chunk = click.option("--chunk", help="Prefill chunk in tokens, or auto.  [default: auto]")
allow_repeats = click.option(
    "--allow-repeats", is_flag=True, default=None, help="Let a short haystack say the same again."
)
controls = click.option("--controls/--no-controls", default=None, help="Ask without haystack too.  [default: controls]")
trust_remote_code = click.option(
    "--trust-remote-code", is_flag=True, default=None, help="Run code that comes with the model."
)


def add(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """A decorator that gives a command these options, listed in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
