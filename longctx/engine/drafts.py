"""Whether greedy decoding would have produced a draft, read off one forward pass.

Speculative decoding's acceptance rule for a greedy model (Leviathan et al. 2022, arXiv 2211.17192), with
the targets of a test in place of a smaller model's guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


class NotFiniteError(RuntimeError):
    """The model's logits are infinite or not a number, so there is no most probable token."""


@dataclass(frozen=True, slots=True)
class CheckedDraft:
    """How far a draft is what greedy decoding would have produced."""

    tokens: list[int]
    """The accepted tokens and the greedy one after them."""
    logprob: float | None
    error: NotFiniteError | None = None


def check_draft(logits: torch.Tensor, draft: list[int]) -> CheckedDraft:
    """Compare a draft with greedy decoding.

    `logits` (num_draft + 1, vocabulary) predict each draft token and the one after.
    """
    logits = logits.float()
    if not bool(torch.isfinite(logits).all()):
        return CheckedDraft([], None, NotFiniteError("the model's logits are not finite"))
    greedy: list[int] = logits.argmax(-1).tolist()
    accepted = 0
    while accepted < len(draft) and draft[accepted] == greedy[accepted]:
        accepted += 1
    logprob = None
    if draft:
        picked = torch.log_softmax(logits[:-1], -1).gather(1, torch.tensor(draft, device=logits.device)[:, None])
        logprob = float(picked.sum())
    return CheckedDraft(greedy[: accepted + 1], logprob)
