"""Sends requests: one attempt, or as many as named faults deserve."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from longctx.backends.endpoint.config import EndpointConfig
from longctx.backends.endpoint.faults import PASSING, RequestFailed, as_failure
from longctx.backends.endpoint.ledger import Ledger
from longctx.backends.endpoint.protocol import Reply, ReplyReader, Request
from longctx.backends.endpoint.sockets import OpenSockets

_FIRST_WAIT_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all attempts at one request came to: a reply, or the last failure."""

    reply: Reply | None
    failure: RequestFailed | None
    num_attempts: int
    seconds: float
    """Of all attempts, and of the waits between them."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What of the protocol a server takes: newer models of vendors take neither max_tokens nor a temperature."""

    limit_name: str = "max_tokens"
    has_temperature: bool = True

    def after(self, failure: RequestFailed) -> Dialect:
        """The dialect that a rejection asks for; the same one if it is about something else."""
        if failure.status != "rejected":
            return self
        reason = failure.reason
        limit = "max_completion_tokens" if "max_completion_tokens" in reason else self.limit_name
        return Dialect(limit, self.has_temperature and "temperature" not in reason)


class EndpointClient:
    """Safe to use from many threads. A context manager: it closes its connections."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api: str,
        key: str,
        config: EndpointConfig,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        ledger: Ledger | None = None,
    ) -> None:
        """`api` is chat, completions or tokens; nothing is sent yet. `sleep` without one ends with the client.

        Clients with one `ledger` share a budget.
        """
        import openai

        self.model = model
        self.api = api
        self.ledger = ledger or Ledger(config)
        self._config = config
        self._key = key
        self.dialect = Dialect()
        self._closed = threading.Event()
        self._sleep = sleep or self._wait_unless_closed
        self._clock = clock
        self._sockets = OpenSockets()
        transport = openai.DefaultHttpxClient(event_hooks={"request": [self._sockets.attend]})
        # The retries are ours: each is counted, paid for, and seen in the row.
        self._client = openai.OpenAI(
            base_url=base_url, api_key=key, max_retries=0, organization="", project="", http_client=transport
        )

    def __enter__(self) -> EndpointClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; requests in flight fail at once, and are not tried again."""
        self._closed.set()
        self._sockets.shut_down()
        self._client.close()

    def stated_models(self) -> list[dict[str, Any]]:
        """What the server's list of models says; empty where it has none."""
        import openai

        try:
            return [model.to_dict(warnings=False) for model in self._client.models.list(timeout=30.0)]
        except (openai.OpenAIError, ValueError):
            return []

    def ask(self, request: Request) -> Outcome:
        """The outcome of one request and its retries.

        Raises SpentError if the budget does not reach for it, and ModelError for what stops every request.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_attempt

        retrying = Retrying(
            stop=stop_after_attempt(self._config.max_attempts),
            wait=_wait,
            retry=retry_if_exception(self._is_worth_another),
            sleep=self._sleep,
            reraise=True,
        )
        started = self._clock()
        reply, failure = None, None
        try:
            reply = retrying(self.attempt, request)
        except RequestFailed as error:
            failure = error
        return Outcome(reply, failure, int(retrying.statistics["attempt_number"]), self._clock() - started)

    def _wait_unless_closed(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def _is_worth_another(self, error: BaseException) -> bool:
        return (
            isinstance(error, RequestFailed)
            and error.status in PASSING
            and not self._closed.is_set()
            and (error.retry_after or 0.0) <= self._config.max_wait_seconds
        )

    def attempt(self, request: Request) -> Reply:
        """One attempt; raises RequestFailed, SpentError or ModelError."""
        import openai

        ticket = self.ledger.reserve(request.num_tokens, request.max_tokens)
        began, started = False, self._clock()
        try:
            stream = self._send(request)
            began = True
            reply = self._read(stream, request, started)
        except Exception as error:
            # A server that refused at once charged nothing; one that fell silent or broke off may have.
            if began or isinstance(error, openai.APITimeoutError):
                self.ledger.settle_in_full(ticket)
            else:
                self.ledger.settle(ticket, 0, 0)
            raise self._as_failure(error) from error
        usage = reply.usage
        counts = (usage.num_prompt_tokens, usage.num_completion_tokens) if usage else None
        self.ledger.settle(ticket, *(counts or (request.num_tokens, request.max_tokens)))
        return reply

    def _as_failure(self, error: Exception) -> RequestFailed:
        """What an attempt failed of; raises an error that is not the server's doing as it is."""
        if self._closed.is_set():  # connections that vanish under a request raise whatever they do
            return RequestFailed("disconnected", "the client was closed")
        return error if isinstance(error, RequestFailed) else as_failure(error, self._key)

    def _send(self, request: Request) -> Any:
        arguments: dict[str, Any] = {
            "model": self.model,
            self.dialect.limit_name: request.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "timeout": self._config.timeout(request.num_tokens),
        }
        if self.dialect.has_temperature:
            arguments["temperature"] = request.temperature
        if request.seed is not None:
            arguments["seed"] = request.seed
        if self.api == "chat":
            if request.num_top_logprobs:
                arguments |= {"logprobs": True, "top_logprobs": request.num_top_logprobs}
            message: Any = {"role": "user", "content": request.content}
            return self._client.chat.completions.create(messages=[message], **arguments)
        if request.num_top_logprobs:
            arguments["logprobs"] = request.num_top_logprobs
        return self._client.completions.create(prompt=request.content, **arguments)

    def _read(self, stream: Any, request: Request, started: float) -> Reply:
        reader = ReplyReader()
        limit = self._config.timeout(request.num_tokens)
        with stream:
            for chunk in stream:
                at = self._clock() - started
                if at > limit:
                    raise RequestFailed("timeout", f"no end of the answer after {limit:.0f} seconds")
                reader.add(chunk.to_dict(warnings=False), at)
        return reader.reply()


def _wait(state: Any) -> float:
    """Seconds before the next attempt: what the server asks for, else twice as long as before, with jitter."""
    from tenacity import wait_random_exponential

    failure = state.outcome.exception()
    if failure.retry_after is not None:
        return float(failure.retry_after)
    backoff = wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_MAX_BACKOFF_SECONDS)
    return float(backoff(state))
