"""Tasks by name. A task writes items and scores answers; it never sees a tokenizer or a model.

To add one: a module here with a frozen dataclass that derives from Task, and its name in _MODULES.
Its fields are its options: `--task niah_single:digits=5`.
"""

from __future__ import annotations

import dataclasses
import importlib

from longctx.errors import ConfigError, UnknownNameError
from longctx.tasks.base import Task

_MODULES = ("niah_single",)


def _classes() -> dict[str, type[Task]]:
    for module in _MODULES:
        importlib.import_module(f"longctx.tasks.{module}")
    return {cls.name: cls for cls in Task.__subclasses__()}


def parse_task(spec: str) -> Task:
    """The task that `name:option=value:...` describes; raises ConfigError."""
    name, *options = spec.split(":")
    classes = _classes()
    if name not in classes:
        raise UnknownNameError("task", name, classes)
    fields = {field.name: field for field in dataclasses.fields(classes[name])}
    values: dict[str, int] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in fields:
            raise UnknownNameError(f"option of {name}", key, fields)
        try:
            values[key] = int(value)
        except ValueError:
            raise ConfigError(f"{name}: {key} is {value!r}; it must be a whole number.") from None
    return classes[name](**values)
