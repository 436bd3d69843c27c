"""What goes wrong with a request, as the status that a row gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from longctx.errors import ModelError
from longctx.records import ServedStatus

PASSING: frozenset[ServedStatus] = frozenset({"timeout", "disconnected", "rate_limited", "server_error", "malformed"})
"""What another attempt may cure."""
_TOO_LONG = ("context_length", "context length", "context size", "exceed_context", "context window", "too long")
_FILTERED = ("content_filter", "content_policy", "moderation", "flagged")
_MAX_SHOWN = 300


class RequestFailed(Exception):  # noqa: N818 - not an error of ours
    """One attempt that gave no answer."""

    def __init__(self, status: ServedStatus, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""


def redact(text: str, key: str) -> str:
    """`text` on one line, short, and without the key that a server may repeat."""
    flat = " ".join(text.replace(key, "[key]").split()) if key else " ".join(text.split())
    return flat if len(flat) <= _MAX_SHOWN else f"{flat[:_MAX_SHOWN]}..."


def as_failure(error: Exception, key: str) -> RequestFailed:
    """The failure that an exception of the client means.

    Raises ModelError for what no other request will cure: a wrong key, an unknown model, no credit.
    """
    import openai

    reason = redact(str(error), key)
    if isinstance(error, openai.APITimeoutError):
        return RequestFailed("timeout", reason)
    if isinstance(error, openai.APIConnectionError):
        cause = f": {error.__cause__}" if error.__cause__ else ""
        return RequestFailed("disconnected", redact(f"{error}{cause}", key))
    if isinstance(error, openai.APIStatusError):
        return _from_status(error, reason)
    if isinstance(error, openai.APIResponseValidationError | json.JSONDecodeError | UnicodeDecodeError):
        return RequestFailed("malformed", reason)
    if isinstance(error, openai.APIError):  # an error event in a stream
        return RequestFailed("too_long" if _mentions(error, _TOO_LONG) else "server_error", reason)
    raise error


def _from_status(error: Any, reason: str) -> RequestFailed:
    code = int(error.status_code)
    if code in (401, 402, 404):
        raise ModelError(f"The server refuses every request (HTTP {code}): {reason}")
    if code == 429:
        return RequestFailed("rate_limited", reason, retry_after(error.response.headers))
    if code in (408, 504):
        return RequestFailed("timeout", reason)
    if code >= 500:
        return RequestFailed("server_error", reason, retry_after(error.response.headers))
    if code == 413 or _mentions(error, _TOO_LONG):
        return RequestFailed("too_long", reason)
    if code == 451 or _mentions(error, _FILTERED):
        return RequestFailed("refused", reason)
    return RequestFailed("rejected", reason)


def _mentions(error: Any, words: tuple[str, ...]) -> bool:
    said = f"{error.message} {error.code} {error.type} {error.body}".lower()
    return any(word in said for word in words)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that the header asks to wait: a number or an HTTP date (RFC 9110, 10.2.3); None without a legal one."""
    text = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
