"""How far two greedy continuations of one prompt are apart: where they part, and how their log-probabilities differ."""

from __future__ import annotations

from itertools import takewhile

from longctx.compare.records import Said


def parting(a: Said, b: Said) -> float:
    """Share of the longer text that stands after the first difference: 0.0 if they are the same, 1.0 if all differs."""
    longest = max(len(a.text), len(b.text))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a.text, b.text, strict=False)))
    return 1.0 - same / longest if longest else 0.0


def logprob_distance(a: Said, b: Said) -> float | None:
    """Mean absolute difference of log-probabilities, in nats, over the tokens that both list at the same place.

    Places count up to the first at which the texts part: from there on the two continue different texts. None where
    nothing can be compared.
    """
    differences: list[float] = []
    for one, other in zip(a.logprobs, b.logprobs, strict=False):
        first, second = {one.token: one.logprob, **one.top}, {other.token: other.logprob, **other.top}
        differences += [abs(first[token] - second[token]) for token in first.keys() & second.keys()]
        if one.token != other.token:
            break
    return sum(differences) / len(differences) if differences else None
