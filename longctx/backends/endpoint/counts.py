"""The server's own count of a prompt against ours: a prompt that lost its middle is shorter than what was sent."""

from __future__ import annotations

from dataclasses import dataclass

from longctx.records import ServedStatus


@dataclass(frozen=True, slots=True)
class CountCheck:
    """What the server is expected to count."""

    offset: int = 0
    """Tokens that it adds to every prompt: of a chat template or a system prompt that only it knows."""
    tolerance: float = 0.0
    """Share by which it may count otherwise."""

    def expected(self, num_tokens: int) -> int:
        """Tokens that the server should count for a prompt of `num_tokens` of ours."""
        return num_tokens + self.offset

    def fault(self, num_tokens: int, counted: int | None) -> tuple[ServedStatus, str] | None:
        """What is wrong with a count, in words; None if it is right, or if there is none."""
        if counted is None:
            return None
        expected = self.expected(num_tokens)
        slack = self.tolerance * expected
        said = f"the server counted {counted:,} prompt tokens of {expected:,}"
        if counted <= 0:
            return "miscounted", said
        if counted < expected - slack:
            return "truncated", f"{said}: the prompt was cut"
        if counted > expected + slack:
            hint = ": a doubled BOS?" if counted == expected + 1 else ""
            return "miscounted", said + hint
        return None
