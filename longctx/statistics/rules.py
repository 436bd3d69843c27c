"""The rules by which a length passes. They give different answers, so none is named without its rule."""

from __future__ import annotations

from dataclasses import dataclass

RULER_THRESHOLD = 0.856
"""Llama-2-7B-chat at 4k, the bar of RULER (Hsieh et al. 2024, arXiv 2404.06654)."""

_NOLIMA_SHARE = 0.85
"""Of the score at short lengths (Modarressi et al. 2025, arXiv 2502.05167)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A length passes if its accuracy is at least the threshold, there and at every shorter tested length."""

    name: str
    threshold: float
    of_base: bool = False
    """The threshold is a share of the model's own accuracy at the shortest tested length."""
    every_depth: bool = False
    """Each depth must pass by itself, not their mean."""

    @property
    def text(self) -> str:
        """The rule in words, for under a figure."""
        which = "every depth's accuracy" if self.every_depth else "accuracy"
        of = " of that at the shortest tested length" if self.of_base else ""
        return f"{which} is at least {self.threshold:.1%}{of}, there and at every shorter tested length"


RULES = {
    rule.name: rule
    for rule in (
        Rule("ruler", RULER_THRESHOLD),
        Rule("nolima", _NOLIMA_SHARE, of_base=True),
        Rule("all_depths", RULER_THRESHOLD, every_depth=True),
    )
}
