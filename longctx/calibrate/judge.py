"""One row against the designed answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from longctx.calibrate.expectation import Expectation
from longctx.records import Row

Finding = Literal["as designed", "near an edge", "miss", "false alarm", "other words", "mislabelled", "no score"]
OFF: tuple[Finding, ...] = ("miss", "false alarm", "other words", "mislabelled", "no score")
"""What contradicts a design."""

# What tells whether a needle was seen. A phantom that sees none ends at once: a server's answer is then empty, which of
# any other model is no score.
HEARD = ("ok", "empty")

# How far a needle may stand from the depth that its row names: a share of the document, and tokens. A packed document
# has a needle for every cell, and those of the same depth stand one after the other.
_LABEL_SHARE = 0.04
_LABEL_TOKENS = 64
_NEEDLE_TOKENS = 17
# Prompts may be so much shorter than their context length.
_SLACK_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Judged:
    """A row with what it should have been."""

    row: Row
    expectation: Expectation
    finding: Finding

    @property
    def sees(self) -> bool | None:
        """Whether the answer shows that the needle was seen; None where it does not tell."""
        told = self.is_heard and self.expectation.distance is not None and self.expectation.can_say
        return self.row.score == 1.0 if told else None

    @property
    def is_heard(self) -> bool:
        """Whether the model gave an answer, be it an empty one."""
        return self.row.status in HEARD


def judge_rows(rows: Sequence[Row], expectations: Mapping[str, Expectation]) -> list[Judged]:
    """Every row judged; `expectations` are by sample id."""
    num_cells = len({(row.task, row.length, row.depth) for row in rows if row.control is None})
    return [
        Judged(row, expectations[row.sample_id], _judge(row, expectations[row.sample_id], num_cells)) for row in rows
    ]


def _judge(row: Row, expectation: Expectation, num_cells: int) -> Finding:
    if row.status not in HEARD:
        return "no score"
    if row.control is None and not _label_fits(row, expectation.document, num_cells):
        return "mislabelled"
    if expectation.text is None:
        return "near an edge"
    right = expectation.text in row.targets
    if right != (row.score == 1.0):
        return "miss" if right else "false alarm"
    return "as designed" if _said(row.answer) == expectation.text else "other words"


def _label_fits(row: Row, document: range, num_cells: int) -> bool:
    """Whether the needle's place and the prompt's length are what the row's address says."""
    if not 0 <= row.length - row.num_prompt_tokens - row.max_new_tokens <= _SLACK_TOKENS:
        return False
    if row.needle_position is None:
        return False
    crowd = num_cells * _NEEDLE_TOKENS if row.design == "packed" else 0
    allowed = _LABEL_SHARE * len(document) + _LABEL_TOKENS + crowd
    return abs(row.needle_position - document.start - row.depth * len(document)) <= allowed


def _said(answer: str) -> str:
    """The first number of an answer, or all of an answer without one."""
    number = re.search(r"\d+", answer)
    return number[0] if number else answer.strip()
