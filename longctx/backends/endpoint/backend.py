"""A model behind a URL answers prompts: several requests at a time, in the order of the prompt tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from longctx.backends.endpoint.client import EndpointClient, Outcome
from longctx.backends.endpoint.content import Sender, cut_at_stop
from longctx.backends.endpoint.counts import CountCheck
from longctx.backends.endpoint.protocol import Reply
from longctx.engine.tree import build_tree
from longctx.errors import LongctxError, SpentError
from longctx.records import Answer, Prompt, Served, ServedStatus, TokenIds

_TREE_CHUNK = 1024


class EndpointBackend:
    """A context manager: it closes the connections of its client."""

    def __init__(
        self,
        client: EndpointClient,
        sender: Sender,
        counts: CountCheck,
        fingerprint: Mapping[str, Any],
        concurrency: int,
    ) -> None:
        self.fingerprint = fingerprint
        self._client = client
        self._sender = sender
        self._counts = counts
        self._concurrency = concurrency

    def __enter__(self) -> EndpointBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def answers(
        self, prompts: Sequence[Prompt], drafts: Mapping[str, TokenIds], on_progress: Callable[[int], None]
    ) -> Iterator[Answer]:
        """An answer for every prompt; servers take no drafts. `on_progress` gets prompt tokens.

        Raises SpentError when the budget is used up, after the requests in flight; ModelError for a wrong key or name.
        """
        queue = iter(list(build_tree(prompts, _TREE_CHUNK).prompts()))
        running: dict[Future[Answer], Prompt] = {}
        num_answered, stopped_by = 0, None
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="longctx-request")
        try:
            while True:
                while stopped_by is None and len(running) < self._concurrency and (prompt := next(queue, None)):
                    running[pool.submit(self._answer, prompt)] = prompt
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    on_progress(running.pop(future).num_tokens)
                    if isinstance(error := future.exception(), LongctxError):
                        stopped_by = stopped_by or error
                        continue
                    num_answered += 1
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(stopped_by, SpentError):
            raise SpentError(f"{stopped_by} {len(prompts) - num_answered} of {len(prompts)} prompts are left.")
        if stopped_by is not None:
            raise stopped_by

    def _answer(self, prompt: Prompt) -> Answer:
        return self.make_answer(prompt, self._client.ask(self._sender.request(prompt)))

    def make_answer(self, prompt: Prompt, outcome: Outcome) -> Answer:
        """The answer that an outcome means: what the server sent is judged before its text is."""
        if (reply := outcome.reply) is None:
            assert outcome.failure is not None
            failure = outcome.failure
            served = Served(num_attempts=outcome.num_attempts)
            return _without_text(prompt, failure.status, failure.reason, outcome.seconds, served)
        text = cut_at_stop(reply.pieces, prompt.stop)
        fault = self._fault(prompt, reply)
        usage = reply.usage
        cached = (usage.num_cached_tokens or 0) if usage else 0
        return Answer(
            prompt_id=prompt.id,
            status=fault[0] if fault else "ok",
            text=text,
            num_completion_tokens=usage.num_completion_tokens if usage else len(reply.pieces),
            num_prefilled_tokens=max(0, prompt.num_tokens - cached),
            num_prefilled_prefix_tokens=max(0, prompt.num_prefix_tokens - cached),
            target_logprob=None,
            seconds=outcome.seconds,
            error=fault[1] if fault else None,
            served=_served(reply, outcome.num_attempts),
        )

    def _fault(self, prompt: Prompt, reply: Reply) -> tuple[ServedStatus, str] | None:
        if reply.refusal or reply.finish_reason == "content_filter":
            return "refused", reply.refusal or "the server's content filter"
        if fault := self._counts.fault(prompt.num_tokens, reply.usage.num_prompt_tokens if reply.usage else None):
            return fault
        if not reply.text.strip():
            thinking = reply.reasoning or (reply.usage and reply.usage.num_reasoning_tokens)
            if thinking:
                return "empty_thinking", "nothing but reasoning: raise --thinking-tokens"
            return "empty", f"no text; finish reason {reply.finish_reason!r}"
        return None


def _without_text(prompt: Prompt, status: ServedStatus, reason: str, seconds: float, served: Served) -> Answer:
    return Answer(prompt.id, status, "", 0, 0, 0, None, seconds, reason, served)


def _served(reply: Reply, num_attempts: int) -> Served:
    usage, first, last = reply.usage, reply.first_token_at, reply.last_token_at
    later = usage.num_completion_tokens - 1 if usage else len(reply.pieces) - 1
    tpot = (last - first) / later if first is not None and last is not None and later > 0 else None
    return Served(
        server_prompt_tokens=usage.num_prompt_tokens if usage else None,
        cached_prompt_tokens=usage.num_cached_tokens if usage else None,
        num_reasoning_tokens=usage.num_reasoning_tokens if usage else None,
        reasoning=reply.reasoning,
        ttft_seconds=None if first is None else round(first, 6),
        tpot_seconds=None if tpot is None else round(tpot, 6),
        server_model=reply.model,
        server_fingerprint=reply.fingerprint,
        num_attempts=num_attempts,
    )
