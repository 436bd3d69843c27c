"""Tasks by name. A task writes items and scores answers; it never sees a tokenizer or a model.

To add one: a module here with a frozen dataclass that derives from NeedleTask or ListTask, and its name
in _MODULES. Its fields are its options: `--task niah_single:digits=5`.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from typing import Any

from longctx.errors import ConfigError, UnknownNameError
from longctx.tasks.base import Task

_MODULES = (
    "canary",
    "niah_single",
    "ruler_needles",
    "ruler_tracing",
    "ruler_words",
    "ruler_questions",
    "no_literal_match",
    "repeated_requests",
    "graph_walk",
    "state_tracking",
    "repeated_words",
    "fiction",
    "fiction_facts",
    "prompt_file",
)
_TYPES = {"int": (int, "a whole number"), "float": (float, "a number"), "str": (str, "text")}


def task_classes() -> dict[str, type[Task]]:
    """All tasks by name."""
    for module in _MODULES:
        importlib.import_module(f"longctx.tasks.{module}")
    waiting: list[Any] = [Task]
    found: dict[str, type[Task]] = {}
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if not inspect.isabstract(cls):
            found[cls.name] = cls
    return dict(sorted(found.items()))


def parse_task(spec: str) -> Task:
    """The task that `name:option=value:...` describes; raises ConfigError."""
    name, _, rest = spec.partition(":")
    # A file's name stands without `path=`, and may hold colons of its own.
    options = re.split(r":(?=\w+=)", rest) if rest else []
    classes = task_classes()
    if name not in classes:
        raise UnknownNameError("task", name, classes)
    fields = {field.name: field for field in dataclasses.fields(classes[name])}
    values: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals and "path" in fields:
            key, value = "path", option
        if key not in fields:
            raise UnknownNameError(f"option of {name}", key, fields)
        convert, what = _TYPES[str(fields[key].type)]
        try:
            values[key] = convert(value)
        except ValueError:
            raise ConfigError(f"{name}: {key} is {value!r}; it must be {what}.") from None
    return classes[name](**values)
