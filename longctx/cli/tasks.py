"""longctx tasks."""

from __future__ import annotations

import click


@click.command("tasks")
def command() -> None:
    """List the tasks: what each measures, and its options."""
    import dataclasses
    import inspect

    from longctx.tasks import task_classes

    for name, task in task_classes().items():
        options = " ".join(f"{field.name}={field.default}" for field in dataclasses.fields(task))
        first = (inspect.getdoc(inspect.getmodule(task)) or "").splitlines()[0]
        click.echo(f"{name:22} {task.measures:12} {options}\n{'':22} {first}")
