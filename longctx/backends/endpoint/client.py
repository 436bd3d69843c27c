"""Sends requests: one attempt, or as many as named faults deserve."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from longctx.backends.endpoint.config import EndpointConfig
from longctx.backends.endpoint.faults import PASSING, RequestFailed, as_failure
from longctx.backends.endpoint.ledger import Ledger
from longctx.backends.endpoint.protocol import Reply, ReplyReader, Request

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


class EndpointClient:
    """Safe to use from many threads. A context manager: it closes its connections."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api: str,
        key: str,
        config: EndpointConfig,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`api` is chat, completions or tokens; nothing is sent yet."""
        import openai

        self.model = model
        self.api = api
        self.ledger = Ledger(config)
        self._config = config
        self._key = key
        self._sleep = sleep
        self._clock = clock
        # The retries are ours: each is counted, paid for, and seen in the row.
        self._client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, organization="", project="")

    def __enter__(self) -> EndpointClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; requests in flight fail."""
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

    def _is_worth_another(self, error: BaseException) -> bool:
        return (
            isinstance(error, RequestFailed)
            and error.status in PASSING
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
        except (openai.OpenAIError, ValueError, RequestFailed) as error:
            failure = error if isinstance(error, RequestFailed) else None
            # A server that refused at once charged nothing; one that fell silent or broke off may have.
            if began or isinstance(error, openai.APITimeoutError):
                self.ledger.settle_in_full(ticket)
            else:
                self.ledger.settle(ticket, 0, 0)
            raise (failure or as_failure(error, self._key)) from error
        usage = reply.usage
        counts = (usage.num_prompt_tokens, usage.num_completion_tokens) if usage else None
        self.ledger.settle(ticket, *(counts or (request.num_tokens, request.max_tokens)))
        return reply

    def _send(self, request: Request) -> Any:
        arguments: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            "timeout": self._config.timeout(request.num_tokens),
        }
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
