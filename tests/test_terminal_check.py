"""What `check` prints, and when."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console

from longctx.check.finding import Finding
from longctx.terminal.check import print_findings


def test_a_finding_is_printed_before_the_next_is_looked_for() -> None:
    printed, seen = io.StringIO(), []

    def findings() -> Iterator[Finding]:
        yield Finding("first", "layer [0]", "passes", "1.0e-9", "as it should be")
        seen.append(printed.getvalue())
        yield Finding("second", "layer 1", "differs", "0.3", "model: off")
        yield Finding("third", "layer 1", "skipped", "", "too long")

    assert print_findings(findings(), Console(file=printed, soft_wrap=True)) == 1
    assert [line.split() for line in seen[0].splitlines()] == [
        ["passes", "first", "layer", "[0]", "1.0e-9", "as", "it", "should", "be"]
    ]
    assert printed.getvalue().splitlines()[-1] == "1 passes, 1 differs, 1 skipped"
