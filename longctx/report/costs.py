"""What a run took: tokens read and reused, time, operations, and memory by tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longctx.records import Row


@dataclass(frozen=True, slots=True)
class Cost:
    num_prompt_tokens: int
    """Of all prompts, each counted whole."""
    num_prefilled_tokens: int
    """Of these, computed; the others were reused from prompts with the same beginning."""
    num_prefilled_prefix_tokens: int
    """Of the computed ones, in documents and what stands before them."""
    num_completion_tokens: int
    num_starts: int
    num_ended: int
    """Starts that came to their end, and so could say what follows."""
    flops: int
    """Floating-point operations of the starts that ended."""
    seconds: float
    """Of the clock, over the starts that ended, without loading the model."""
    kv_bytes: dict[str, int]
    """The most that keys and values took, by tier, in any start that ended."""

    @property
    def reused_share(self) -> float:
        return 1 - self.num_prefilled_tokens / self.num_prompt_tokens if self.num_prompt_tokens else 0.0

    @property
    def tflops(self) -> float | None:
        """10^12 operations a second; None where no start ended."""
        return self.flops / self.seconds / 1e12 if self.seconds else None


def sum_costs(rows: Sequence[Row], manifest: Mapping[str, Any]) -> Cost:
    """The cost of all rows, controls included. `manifest` is what the store wrote."""
    ends = manifest.get("ends", [])
    tiers = sorted({tier for end in ends for tier in end["kv_bytes"]})
    return Cost(
        num_prompt_tokens=sum(row.num_prompt_tokens for row in rows),
        num_prefilled_tokens=sum(row.num_prefilled_tokens for row in rows),
        num_prefilled_prefix_tokens=sum(row.num_prefilled_prefix_tokens for row in rows),
        num_completion_tokens=sum(row.num_completion_tokens for row in rows),
        num_starts=len(manifest["starts"]),
        num_ended=len(ends),
        flops=sum(end["flops"] for end in ends),
        seconds=sum(end["seconds"] for end in ends),
        kv_bytes={tier: max(end["kv_bytes"].get(tier, 0) for end in ends) for tier in tiers},
    )
