"""Your own prompts from a file of JSON lines, with their targets, lengths and depths.

Nothing is built or inserted: the text is the whole of what the user says. `file:prompts.jsonl`, each line:

    {"prompt": "... What is the code?", "targets": ["4417"], "length": "8k", "depth": 0.5}

and if wanted "answer_prefix" and "max_new_tokens". An answer is right if it holds a target in whole words,
strictly right if it is nothing else. What it measures depends on the prompts.

Known traps: length is the context length that the prompt is meant for; prompt and answer must fit into it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from longctx.errors import ConfigError, UnknownNameError
from longctx.lengths import parse_length
from longctx.records import Given, Score
from longctx.tasks.base import Measures, Task

_NEEDED = ("prompt", "targets", "length", "depth")
_LEGAL = (*_NEEDED, "answer_prefix", "max_new_tokens")


@dataclass(frozen=True)
class PromptFile(Task):
    """`path`: the file."""

    name: ClassVar[str] = "file"
    measures: ClassVar[Measures] = "retrieves"
    instruction: ClassVar[str] = ""
    stop: ClassVar[str] = r"\S\s*\n"

    max_new_tokens: int = 64
    path: str = ""

    def given(self) -> list[Given]:
        """The prompts of the file; raises ConfigError naming the line and what is wrong with it."""
        try:
            lines = Path(self.path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Cannot read the prompts in {self.path!r}: {error}") from error
        found = [self._given(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        if not found:
            raise ConfigError(f"{self.path} holds no prompts.")
        return found

    def _given(self, number: int, line: str) -> Given:
        where = f"{self.path}, line {number}"
        try:
            values: Any = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{where} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{where} is not a JSON object.")
        for key in values:
            if key not in _LEGAL:
                raise UnknownNameError(f"field in {where}:", key, _LEGAL)
        missing = [key for key in _NEEDED if key not in values]
        if missing:
            raise ConfigError(f"{where} lacks {', '.join(missing)}.")
        targets = values["targets"]
        legal = (
            isinstance(values["prompt"], str) and values["prompt"].strip(),
            isinstance(targets, list) and targets and all(isinstance(one, str) and one.strip() for one in targets),
            isinstance(values["depth"], int | float) and 0 <= values["depth"] <= 1,
            isinstance(values.get("answer_prefix", ""), str),
            isinstance(values.get("max_new_tokens", 1), int) and values.get("max_new_tokens", 1) > 0,
        )
        if not all(legal):
            raise ConfigError(
                f"{where}: prompt is a text, targets a list of texts, depth 0 to 1, answer_prefix a text, "
                "max_new_tokens a number above 0."
            )
        return Given(
            text=values["prompt"],
            length=parse_length(str(values["length"])),
            depth=float(values["depth"]),
            targets=tuple(targets),
            answer_prefix=values.get("answer_prefix", ""),
            max_new_tokens=values.get("max_new_tokens"),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        def says(target: str) -> bool:
            return re.search(rf"(?<!\w){re.escape(target)}(?!\w)", answer, re.IGNORECASE) is not None

        exact = answer.strip().rstrip(".") in targets
        return Score(float(any(map(says, targets))), near_miss=False, strict=float(exact))
