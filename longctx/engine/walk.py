"""One walk over one prompt tree, by one or more workers: reads what is shared once, asks, decodes what is wrong."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from longctx.engine.completion import Answering
from longctx.engine.drafts import CheckedDraft, check_draft
from longctx.engine.kv import StreamedCache
from longctx.engine.lookup import look_up
from longctx.engine.memory import NoSpaceError
from longctx.engine.reader import FAILURES, Reader, failure_status, free_device_memory
from longctx.engine.resume import chunks_on_disk
from longctx.engine.tree import Branch, Node
from longctx.records import Answer, Prompt, TokenIds


class _Stopped(Exception):  # noqa: N818 - not an error: the caller has gone
    pass


@dataclass(frozen=True, slots=True)
class Progress:
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


# Tokens of the prompt that are tried with each decoded one: a CPU reads as many in nearly the same time.
_MAX_GUESS = 8


@dataclass(slots=True)
class _Row:
    """A question whose answer is not complete."""

    prompt: Prompt
    answering: Answering
    prompt_ids: TokenIds
    tokens: list[int]
    """Of the answer so far; the last of them has not been read."""
    logprob: float | None


class Walk:
    """The workers of one walk, and what they have to say."""

    def __init__(self, reader: Reader, drafts: Mapping[str, TokenIds], batch_tokens: int, num_workers: int) -> None:
        self._reader = reader
        self._batch_tokens = batch_tokens
        self._drafts = drafts
        self._events: queue.SimpleQueue[Answer | Progress | _Finished] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="longctx-walk")
        self._idle = threading.Semaphore(num_workers)
        self._num_jobs = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._on_disk: frozenset[str] = frozenset()

    def events(self, root: Node) -> Iterator[Answer | Progress]:
        """All answers, with progress in between; raises what a worker raised."""
        tiers = self._reader.tiers
        if tiers.disk is not None:
            self._on_disk = chunks_on_disk(root, tiers.disk, self._reader.reach, tiers.ranks)
        self._try_fork(root, self._reader.new_cache())
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

    def _try_fork(self, node: Node, cache: StreamedCache) -> bool:
        """Give the subtree below `node`, whose prefix `cache` holds, to an idle worker, if there is one."""
        if not self._idle.acquire(blocking=False):
            return False
        with self._lock:
            self._num_jobs += 1
        self._pool.submit(self._job, node, cache)
        return True

    def _job(self, node: Node, cache: StreamedCache) -> None:
        error: BaseException | None = None
        try:
            self._descend(node, cache, _Meter(since=time.monotonic()))
        except _Stopped:
            pass
        except BaseException as caught:  # handed to the caller's thread, which raises it
            error = caught
        self._idle.release()
        self._events.put(_Finished(error))

    def _descend(self, node: Node, cache: StreamedCache, meter: _Meter) -> None:
        """Read `node` and answer all below it. `cache` holds what is before the node, and is used up.

        The heaviest child comes last and gets the cache itself, so few caches are alive at a time.
        """
        while True:
            try:
                self._prefill(node, cache, meter)
            except FAILURES as error:
                self._fail(list(node.prompts()), error, meter)
                return
            for branch in node.branches.values():
                self._answer_branch(branch, node.stop, cache, meter)
            children = sorted(node.children.values(), key=lambda child: child.num_tokens_below)
            for child in children[:-1]:
                twin = cache.branch()
                if not self._try_fork(child, twin):
                    self._descend(child, twin, meter)
            if not children:
                return
            node = children[-1]

    def _prefill(self, node: Node, cache: StreamedCache, meter: _Meter) -> None:
        if self._stop.is_set():
            raise _Stopped
        num_tokens = len(node.chunk_ids)
        if node.name in self._on_disk:
            cache.restore(node.name, num_tokens)
        elif num_tokens:
            self._reader.prefill(node.chunk_ids, cache)
            try:
                cache.save(node.name)
            except NoSpaceError:
                cache.roll_back(node.start)
                raise
            meter.num_prefix_tokens += num_tokens
        self._done(node.start, node.stop)

    def _done(self, start: int, stop: int) -> None:
        self._events.put(Progress(self._reader.shape.prefill_flops(start, stop)))

    def _fail(self, prompts: list[Prompt], error: Exception, meter: _Meter) -> None:
        reason = f"{type(error).__name__}: {error}"
        for prompt in prompts:
            num_prefix_tokens, seconds = meter.charge()
            status = failure_status(error)
            self._events.put(
                Answer(prompt.id, status, "", 0, num_prefix_tokens, num_prefix_tokens, None, seconds, reason)
            )

    def _answer_branch(self, branch: Branch, start: int, cache: StreamedCache, meter: _Meter) -> None:
        """Answer the branch's prompts in batches; `cache` holds its first `start` tokens and is left as it is."""
        if len(branch.stem_ids):
            stem = cache.ask()
            try:
                self._read_stem(branch.stem_ids, stem, start, meter)
            except FAILURES as error:
                self._fail(branch.prompts, error, meter)
                return
            cache = stem
        length = start + len(branch.stem_ids)
        longest = max(len(prompt.tail_ids) + len(self._draft_ids(prompt)) for prompt in branch.prompts)
        size = max(1, self._batch_tokens // longest)
        for first in range(0, len(branch.prompts), size):
            self._answer_batch(branch.prompts[first : first + size], length, cache, meter)

    def _read_stem(self, ids: TokenIds, stem: StreamedCache, start: int, meter: _Meter) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._reader.ask([ids.tolist()], stem, 1)
        stem.take_back(torch.ones(1, len(ids), dtype=torch.bool))
        meter.num_prefix_tokens += len(ids)
        self._done(start, start + len(ids))

    def _draft_ids(self, prompt: Prompt) -> TokenIds:
        return self._drafts.get(prompt.id, prompt.tail_ids[:0])

    def _answer_batch(self, batch: list[Prompt], length: int, prefix: StreamedCache, meter: _Meter) -> None:
        """Answer prompts with the same prefix of `length` tokens, in halves if memory is too small for all."""
        waiting = {prompt.id: prompt for prompt in batch}
        try:
            rows, cache = self._check_drafts(batch, length, prefix, waiting, meter)
            if self._reader.mixes_lengths:
                self._decode(rows, cache, waiting, meter)
            else:
                for index, row in enumerate(rows):
                    self._decode([row], cache.select([index]), waiting, meter)
        except FAILURES as error:
            left = list(waiting.values())
            if failure_status(error) != "oom" or len(left) == 1:
                self._fail(left, error, meter)
                return
        else:
            return
        free_device_memory()
        half = len(left) // 2
        self._answer_batch(left[:half], length, prefix, meter)
        self._answer_batch(left[half:], length, prefix, meter)

    def _check_drafts(
        self,
        batch: list[Prompt],
        length: int,
        prefix: StreamedCache,
        waiting: dict[str, Prompt],
        meter: _Meter,
    ) -> tuple[list[_Row], StreamedCache]:
        """One forward over all tails with their drafts. Returns the rows that have to be decoded, and their cache."""
        cache = prefix.ask(len(batch))
        texts = [[*prompt.tail_ids.tolist(), *self._draft_ids(prompt).tolist()] for prompt in batch]
        width = max(map(len, texts))
        keep = width - min(len(prompt.tail_ids) for prompt in batch) + 1
        logits = self._reader.ask(texts, cache, keep)
        # The logits from the one that predicts the first new token on, and the draft.
        starts = [len(prompt.tail_ids) - 1 - (width - keep) for prompt in batch]
        wanted = [self._draft_ids(prompt).tolist() for prompt in batch]
        checked = self._check(logits, starts, wanted)
        rows, picked, num_kept = [], [], []
        for index, (prompt, draft) in enumerate(zip(batch, checked, strict=True)):
            self._done(length, prompt.num_tokens)
            num_kept.append(len(prompt.tail_ids) + max(0, len(draft.tokens) - 1))
            row = _Row(prompt, self._reader.finisher.start(prompt), prompt.token_ids(), [], draft.logprob)
            if not self._add(row, draft, waiting, meter):
                rows.append(row)
                picked.append(index)
        cache.take_back(torch.arange(width) < torch.tensor(num_kept).unsqueeze(1))
        return rows, cache.select(picked) if rows else cache

    def _check(self, logits: torch.Tensor, starts: list[int], drafts: list[list[int]]) -> list[CheckedDraft]:
        """Check each row's draft from its place in the logits (rows, columns, vocabulary) on; all ranks alike."""
        rows = zip(logits, starts, drafts, strict=True)
        return self._reader.tiers.ranks.agree(
            [check_draft(row[start : start + len(draft) + 1], draft) for row, start, draft in rows]
        )

    def _add(self, row: _Row, checked: CheckedDraft, waiting: dict[str, Prompt], meter: _Meter) -> bool:
        """Take in greedily decoded tokens; whether the row is answered now."""
        prompt = row.prompt
        if checked.error is not None:
            self._fail([waiting.pop(prompt.id)], checked.error, meter)
            return True
        row.tokens.extend(checked.tokens)
        completion = row.answering.add(checked.tokens)
        if completion is None:
            return False
        waiting.pop(prompt.id)
        num_prefix_tokens, seconds = meter.charge()
        answer = Answer(
            prompt_id=prompt.id,
            status="ok",
            text=completion.text,
            num_completion_tokens=completion.num_tokens,
            num_prefilled_tokens=num_prefix_tokens + len(prompt.tail_ids),
            num_prefilled_prefix_tokens=num_prefix_tokens,
            target_logprob=row.logprob,
            seconds=seconds,
        )
        self._events.put(answer)
        return True

    def _decode(self, rows: list[_Row], cache: StreamedCache, waiting: dict[str, Prompt], meter: _Meter) -> None:
        """Decode greedily, all rows at once, until each is answered.

        What the prompt suggests comes along with each token, and stays where greedy decoding agrees.
        """
        while rows:
            if self._stop.is_set():
                raise _Stopped
            guesses = [look_up(row.prompt_ids, row.tokens, _guess_room(row)) for row in rows]
            texts = [[row.tokens[-1], *guess] for row, guess in zip(rows, guesses, strict=True)]
            width = max(map(len, texts))
            found = self._check(self._reader.ask(texts, cache, width), [0] * len(rows), guesses)
            open_rows, picked, num_kept = [], [], []
            for index, (row, checked) in enumerate(zip(rows, found, strict=True)):
                num_kept.append(max(1, len(checked.tokens)))
                if not self._add(row, checked, waiting, meter):
                    open_rows.append(row)
                    picked.append(index)
            cache.take_back(torch.arange(width) < torch.tensor(num_kept).unsqueeze(1))
            if open_rows and len(open_rows) < len(rows):
                cache = cache.select(picked)
            rows = open_rows


def _guess_room(row: _Row) -> int:
    """Tokens that may be guessed after the next one."""
    return min(_MAX_GUESS, row.prompt.max_new_tokens - len(row.tokens) - 1)
