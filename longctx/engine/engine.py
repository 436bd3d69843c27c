"""Answers prompts with a transformers model, walking their prompt tree once.

Every chunk of the tree is computed once. At a branch all tails go through the model as one batch,
each followed by its draft: where greedy decoding would have produced the draft nothing is decoded,
otherwise decoding starts at the first token that differs, helped by what the prompt suggests.

On a CPU several workers walk different parts of the tree, one core each: a matrix product shared
by two cores of small machines wastes a quarter of them on waiting.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from longctx.engine import attention, kv
from longctx.engine.completion import Answering, Completion, Finisher, end_ids
from longctx.engine.cost import ModelShape
from longctx.engine.drafts import CheckedDraft, check_draft
from longctx.engine.lookup import look_up
from longctx.engine.tree import Branch, Node, build_tree
from longctx.environment import num_cores
from longctx.records import Answer, Prompt, Status, TokenIds


class _Stopped(Exception):  # noqa: N818 - not an error: the caller has gone
    pass


@dataclass(frozen=True, slots=True)
class _Progress:
    flops: int


@dataclass(frozen=True, slots=True)
class _Finished:
    error: BaseException | None


@dataclass(slots=True)
class _Meter:
    """What was computed since the last answer, to be charged to the next one."""

    num_prefix_tokens: int = 0
    since: float = 0.0

    def charge(self) -> tuple[int, float]:
        """Prefix tokens and seconds since the last charge."""
        now = time.monotonic()
        charged = self.num_prefix_tokens, now - self.since
        self.num_prefix_tokens, self.since = 0, now
        return charged


def failure_status(error: Exception) -> Status:
    """`oom` for every way in which torch says that memory ran out, else `error`."""
    phrases = ("allocate memory", "out of memory", "ALLOC_FAILED")
    typed = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return "oom" if typed or any(phrase in str(error) for phrase in phrases) else "error"


# Tokens of the prompt that are tried with each decoded one: a CPU reads as many in nearly the same time.
_MAX_GUESS = 8

# What a model may raise on a prompt that it cannot read: each becomes a row, not the end of the run.
_FAILURES = (MemoryError, RuntimeError, ValueError, IndexError)


class Engine:
    """A loaded model with the sizes that decide how it reads."""

    def __init__(
        self,
        model: Any,
        decode: Callable[[list[int]], str],
        shape: ModelShape,
        chunk: int,
        batch_tokens: int = 65_536,
        num_workers: int = 1,
    ) -> None:
        """`chunk` and `batch_tokens` are in tokens; more than one worker is for CPUs."""
        self.model = model
        self.shape = shape
        self.chunk = chunk
        self.batch_tokens = batch_tokens
        self.num_workers = num_workers
        self.finisher = Finisher(decode, end_ids(model))

    def answers(
        self,
        prompts: Sequence[Prompt],
        drafts: Mapping[str, TokenIds],
        on_progress: Callable[[int], None] = lambda flops: None,
    ) -> Iterator[Answer]:
        """An answer for every prompt, as they come; `drafts` are token ids by prompt id.

        `on_progress` gets the floating-point operations done since the last call. A prompt that the
        model fails on is answered with that status.
        """
        before = torch.get_num_threads()
        if self.num_workers > 1:
            torch.set_num_threads(max(1, num_cores() // self.num_workers))
        run = _Run(self, drafts)
        try:
            for event in run.events(build_tree(prompts, self.chunk)):
                if isinstance(event, Answer):
                    yield event
                else:
                    on_progress(event.flops)
        finally:
            run.stop()
            torch.set_num_threads(before)

    @torch.inference_mode()
    def forward(self, ids: torch.Tensor, cache: kv.Cache, keep: int = 1, **arguments: Any) -> torch.Tensor:
        """Logits (batch, keep, vocabulary) of the last `keep` tokens of ids (batch, num_tokens); extends the cache."""
        output = self.model(
            input_ids=ids.to(self.model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
            **arguments,
        )
        logits: torch.Tensor = output.logits
        return logits

    def prefill(self, ids: TokenIds, cache: kv.Cache) -> None:
        """Extend a one-row cache by `ids`, at most one chunk of them.

        The last layer is left as soon as it has its keys and values, where the attention is ours.
        """
        if not len(ids):
            return
        arguments = {}
        if self.model.config._attn_implementation == attention.NAME:
            arguments["last_layer"] = self.model.config.num_hidden_layers - 1
        with contextlib.suppress(attention.CacheFilled):
            self.forward(torch.from_numpy(ids.astype("int64"))[None], cache, **arguments)


class _Run:
    """One walk over one tree."""

    def __init__(self, engine: Engine, drafts: Mapping[str, TokenIds]) -> None:
        self._engine = engine
        self._drafts = drafts
        self._events: queue.SimpleQueue[Answer | _Progress | _Finished] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(engine.num_workers, thread_name_prefix="longctx-walk")
        self._idle = threading.Semaphore(engine.num_workers)
        self._num_jobs = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def events(self, root: Node) -> Iterator[Answer | _Progress]:
        """All answers, with progress in between; raises what a worker raised."""
        self._try_fork(root, kv.new_cache(self._engine.model.config))
        while True:
            event = self._events.get()
            if not isinstance(event, _Finished):
                yield event
                continue
            if event.error is not None:
                raise event.error
            with self._lock:
                self._num_jobs -= 1
                if self._num_jobs == 0:
                    return

    def stop(self) -> None:
        """Let the workers end after the chunk they are at."""
        self._stop.set()
        self._pool.shutdown(wait=True)

    def _try_fork(self, node: Node, cache: kv.Cache) -> bool:
        """Give the subtree below `node`, whose prefix `cache` holds, to an idle worker, if there is one."""
        if not self._idle.acquire(blocking=False):
            return False
        with self._lock:
            self._num_jobs += 1
        self._pool.submit(self._job, node, cache)
        return True

    def _job(self, node: Node, cache: kv.Cache) -> None:
        error: BaseException | None = None
        try:
            self._descend(node, cache, _Meter(since=time.monotonic()))
        except _Stopped:
            pass
        except BaseException as caught:  # handed to the caller's thread, which raises it
            error = caught
        self._idle.release()
        self._events.put(_Finished(error))

    def _descend(self, node: Node, cache: kv.Cache, meter: _Meter) -> None:
        """Read `node` and answer all below it. `cache` holds what is before the node, and is used up.

        The heaviest child comes last and gets the cache itself, so few caches are alive at a time.
        """
        while True:
            try:
                self._prefill(node.chunk_ids, cache, node.start, meter)
            except _FAILURES as error:
                self._fail(list(node.prompts()), error, meter)
                return
            for branch in node.branches.values():
                self._answer_branch(branch, node.stop, cache, meter)
            children = sorted(node.children.values(), key=lambda child: child.num_tokens_below)
            for child in children[:-1]:
                twin = kv.branch(cache)
                if not self._try_fork(child, twin):
                    self._descend(child, twin, meter)
            if not children:
                return
            node = children[-1]

    def _prefill(self, ids: TokenIds, cache: kv.Cache, start: int, meter: _Meter) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._engine.prefill(ids, cache)
        meter.num_prefix_tokens += len(ids)
        self._done(start, start + len(ids))

    def _done(self, start: int, stop: int) -> None:
        self._events.put(_Progress(self._engine.shape.prefill_flops(start, stop)))

    def _fail(self, prompts: list[Prompt], error: Exception, meter: _Meter) -> None:
        reason = f"{type(error).__name__}: {error}"
        for prompt in prompts:
            num_prefix_tokens, seconds = meter.charge()
            status = failure_status(error)
            self._events.put(
                Answer(prompt.id, status, "", 0, num_prefix_tokens, num_prefix_tokens, None, seconds, reason)
            )

    def _answer_branch(self, branch: Branch, start: int, cache: kv.Cache, meter: _Meter) -> None:
        """Answer the branch's prompts in batches; `cache` holds its first `start` tokens and is left as it is."""
        prefix = kv.branch(cache)
        try:
            self._prefill(branch.stem_ids, prefix, start, meter)
        except _FAILURES as error:
            self._fail(branch.prompts, error, meter)
            return
        length = start + len(branch.stem_ids)
        longest = max(len(prompt.tail_ids) + len(self._draft_ids(prompt)) for prompt in branch.prompts)
        size = max(1, self._engine.batch_tokens // (length + longest))
        for first in range(0, len(branch.prompts), size):
            self._answer_batch(branch.prompts[first : first + size], length, prefix, meter)

    def _draft_ids(self, prompt: Prompt) -> TokenIds:
        return self._drafts.get(prompt.id, prompt.tail_ids[:0])

    def _answer_batch(self, batch: list[Prompt], length: int, prefix: kv.Cache, meter: _Meter) -> None:
        """Answer prompts with the same prefix of `length` tokens, in halves if memory is too small for all."""
        try:
            drafts = self._check_drafts(batch, prefix)
        except _FAILURES as error:
            if failure_status(error) == "oom" and len(batch) > 1:
                half = len(batch) // 2
                self._answer_batch(batch[:half], length, prefix, meter)
                self._answer_batch(batch[half:], length, prefix, meter)
            else:
                self._fail(batch, error, meter)
            return
        for prompt, draft in zip(batch, drafts, strict=True):
            self._done(length, prompt.num_tokens)
            try:
                self._events.put(self._answer(prompt, draft, prefix, meter))
            except _FAILURES as error:
                self._fail([prompt], error, meter)

    def _answer(self, prompt: Prompt, draft: CheckedDraft, prefix: kv.Cache, meter: _Meter) -> Answer:
        """The answer of one prompt of a batch, decoded from where its draft went wrong."""
        if draft.error is not None:
            raise draft.error
        num_tail_tokens = len(prompt.tail_ids)
        answering = self._engine.finisher.start(prompt)
        completion = answering.add(draft.tokens)
        if completion is None:
            if draft.cache is None:
                num_tail_tokens *= 2  # read again, by itself
            completion = self._decode(prompt, draft, prefix, answering)
        num_prefix_tokens, seconds = meter.charge()
        return Answer(
            prompt_id=prompt.id,
            status="ok",
            text=completion.text,
            num_completion_tokens=completion.num_tokens,
            num_prefilled_tokens=num_prefix_tokens + num_tail_tokens,
            num_prefilled_prefix_tokens=num_prefix_tokens,
            target_logprob=draft.logprob,
            seconds=seconds,
        )

    def _check_drafts(self, batch: list[Prompt], prefix: kv.Cache) -> list[CheckedDraft]:
        """One forward over all tails with their drafts.

        Rows are padded at the end, where causal attention keeps the padding out of sight.
        """
        rows = [[*prompt.tail_ids.tolist(), *self._draft_ids(prompt).tolist()] for prompt in batch]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        keep = width - min(len(prompt.tail_ids) for prompt in batch) + 1
        length, fan = prefix.get_seq_length(), kv.fan_out(prefix, len(batch))
        logits = self._engine.forward(ids, fan, keep)
        results = []
        for row, prompt in enumerate(batch):
            draft_ids = self._draft_ids(prompt).tolist()
            first = len(prompt.tail_ids) - 1 - (width - keep)  # the logits that predict the first new token
            draft = check_draft(logits[row, first : first + len(draft_ids) + 1], draft_ids)
            if draft.error is None:
                num_accepted = len(draft.tokens) - 1
                if kv.can_go_back(fan):
                    mine = kv.take_row(fan, row, length + len(prompt.tail_ids) + num_accepted)
                    draft = dataclasses.replace(draft, cache=mine)
            results.append(draft)
        return results

    def _decode(self, prompt: Prompt, draft: CheckedDraft, prefix: kv.Cache, answering: Answering) -> Completion:
        """The completion that starts with the draft's tokens, greedily decoded from there on.

        What the prompt suggests comes along with each token, and stays where greedy decoding agrees.
        """
        prompt_ids, tokens = prompt.token_ids(), draft.tokens
        if draft.cache is not None:
            cache, unread = draft.cache, tokens[-1:]
        else:
            cache, unread = kv.branch(prefix), [*prompt.tail_ids.tolist(), *tokens]
        while True:
            if self._stop.is_set():
                raise _Stopped
            length = cache.get_seq_length() + len(unread)
            room = min(_MAX_GUESS, prompt.max_new_tokens - len(tokens) - 1) if kv.can_go_back(cache) else 0
            guess = look_up(prompt_ids, tokens, room)
            logits = self._engine.forward(torch.tensor([[*unread, *guess]]), cache, len(guess) + 1)
            checked = check_draft(logits[0], guess)
            if checked.error is not None:
                raise checked.error
            tokens = [*tokens, *checked.tokens]
            completion = answering.add(checked.tokens)
            if completion is not None:
                return completion
            if guess:
                cache = kv.take_row(cache, 0, length + len(checked.tokens) - 1)
            unread = tokens[-1:]
