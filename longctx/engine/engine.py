"""Answers prompts with a transformers model, walking their prompt tree once.

Every chunk of the tree is computed once. At a branch all tails go through the model as one batch,
each followed by its draft: where greedy decoding would have produced the draft nothing is decoded,
otherwise decoding starts at the first token that differs, helped by what the prompt suggests.

On a CPU several workers walk different parts of the tree, one core each: a matrix product shared
by two cores of small machines wastes a quarter of them on waiting.
"""

from __future__ import annotations

import contextlib
import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from longctx.engine.attention import CacheFilled
from longctx.engine.completion import Answering, Finisher, end_ids
from longctx.engine.cost import ModelShape
from longctx.engine.drafts import CheckedDraft, check_draft
from longctx.engine.kv import StreamedCache, Tiers
from longctx.engine.lookup import look_up
from longctx.engine.memory import NoSpaceError
from longctx.engine.resume import chunks_on_disk
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
    """`oom` for every way in which torch says that memory ran out, `no_space` for full tiers, else `error`."""
    if isinstance(error, NoSpaceError):
        return "no_space"
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
        tiers: Tiers,
        batch_tokens: int = 65_536,
        num_workers: int = 1,
    ) -> None:
        """`model` runs with attention `longctx`; `chunk` and `batch_tokens` are in tokens.

        More than one worker is for CPUs.
        """
        self.model = model
        self.shape = shape
        self.chunk = chunk
        self.tiers = tiers
        self.batch_tokens = batch_tokens
        self.num_workers = num_workers
        self.finisher = Finisher(decode, end_ids(model))
        self.mixes_lengths = _mixes_lengths(model)
        self.reach = max((window for window in shape.windows if window is not None), default=0)

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
        finished = False
        try:
            for event in run.events(build_tree(prompts, self.chunk)):
                if isinstance(event, Answer):
                    yield event
                else:
                    on_progress(event.flops)
            finished = True
        finally:
            if self.tiers.disk is not None and not finished:
                self.tiers.disk.keep_files()  # the next run goes on from them
            run.stop()
            torch.set_num_threads(before)

    def new_cache(self) -> StreamedCache:
        """An empty cache for this model."""
        return StreamedCache(self.model.config, self.tiers)

    @torch.inference_mode()
    def prefill(self, ids: TokenIds, cache: StreamedCache) -> None:
        """Extend a document by `ids`, at most one chunk of them.

        The last layer is left as soon as it has its keys and values. Where memory is too small for the chunk, its
        halves are read one after the other; raises what the model raises, the cache is then as it was.
        """
        start = cache.length
        try:
            self._read(ids, cache)
        except _FAILURES as error:
            cache.roll_back(start)
            if failure_status(error) != "oom" or len(ids) < 2:
                raise
            free_device_memory()
            half = len(ids) // 2
            try:
                self._read(ids[:half], cache)
                self._read(ids[half:], cache)
            except _FAILURES:
                cache.roll_back(start)
                raise

    def _read(self, ids: TokenIds, cache: StreamedCache) -> None:
        with contextlib.suppress(CacheFilled):
            self._forward(torch.from_numpy(ids.astype("int64"))[None], cache, 1, last_layer=len(self.shape.windows) - 1)
        cache.commit(len(ids))

    @torch.inference_mode()
    def ask(self, rows: Sequence[Sequence[int]], cache: StreamedCache, keep: int) -> torch.Tensor:
        """Logits (rows, keep, vocabulary) of the last columns of rows of tokens, padded at their ends.

        Extends the rows of `cache`, which are as many; what of it stays is said with `take_back`.
        """
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
        valid = torch.arange(width) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
        lengths = cache.row_lengths()
        positions = cache.begin_rows(valid)
        arguments = {}
        if bool((lengths != cache.length).any()):  # not what a model makes of the cache's length by itself
            arguments["position_ids"] = positions.to(self.model.device)
        return self._forward(ids, cache, keep, **arguments)

    def _forward(self, ids: torch.Tensor, cache: StreamedCache, keep: int, **arguments: Any) -> torch.Tensor:
        output = self.model(
            input_ids=ids.to(self.model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
            **arguments,
        )
        logits: torch.Tensor = output.logits
        return logits


def _mixes_lengths(model: Any) -> bool:
    """Whether rows of different lengths can be decoded together: positions are given, and nothing else tells them."""
    by_length = getattr(model.config, "attn_temperature_tuning", False)  # Llama 4 takes it from the cache's length
    return "position_ids" in inspect.signature(getattr(model, "forward", model)).parameters and not by_length


def free_device_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(slots=True)
class _Row:
    """A question whose answer is not complete."""

    prompt: Prompt
    answering: Answering
    tokens: list[int]
    """Of the answer so far; the last of them has not been read."""
    logprob: float | None


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
        self._on_disk: frozenset[str] = frozenset()

    def events(self, root: Node) -> Iterator[Answer | _Progress]:
        """All answers, with progress in between; raises what a worker raised."""
        tiers = self._engine.tiers
        if tiers.disk is not None:
            self._on_disk = chunks_on_disk(root, tiers.disk, self._engine.reach)
        self._try_fork(root, self._engine.new_cache())
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
            except _FAILURES as error:
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
            self._engine.prefill(node.chunk_ids, cache)
            try:
                cache.save(node.name)
            except NoSpaceError:
                cache.roll_back(node.start)
                raise
            meter.num_prefix_tokens += num_tokens
        self._done(node.start, node.stop)

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

    def _answer_branch(self, branch: Branch, start: int, cache: StreamedCache, meter: _Meter) -> None:
        """Answer the branch's prompts in batches; `cache` holds its first `start` tokens and is left as it is."""
        if len(branch.stem_ids):
            stem = cache.ask()
            try:
                self._read_stem(branch.stem_ids, stem, start, meter)
            except _FAILURES as error:
                self._fail(branch.prompts, error, meter)
                return
            cache = stem
        length = start + len(branch.stem_ids)
        longest = max(len(prompt.tail_ids) + len(self._draft_ids(prompt)) for prompt in branch.prompts)
        size = max(1, self._engine.batch_tokens // longest)
        for first in range(0, len(branch.prompts), size):
            self._answer_batch(branch.prompts[first : first + size], length, cache, meter)

    def _read_stem(self, ids: TokenIds, stem: StreamedCache, start: int, meter: _Meter) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._engine.ask([ids.tolist()], stem, 1)
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
            if self._engine.mixes_lengths:
                self._decode(rows, cache, waiting, meter)
            else:
                for index, row in enumerate(rows):
                    self._decode([row], cache.select([index]), waiting, meter)
        except _FAILURES as error:
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
        logits = self._engine.ask(texts, cache, keep)
        rows, picked, num_kept = [], [], []
        for index, prompt in enumerate(batch):
            self._done(length, prompt.num_tokens)
            draft_ids = self._draft_ids(prompt).tolist()
            first = len(prompt.tail_ids) - 1 - (width - keep)  # the logits that predict the first new token
            draft = check_draft(logits[index, first : first + len(draft_ids) + 1], draft_ids)
            num_kept.append(len(prompt.tail_ids) + max(0, len(draft.tokens) - 1))
            row = _Row(prompt, self._engine.finisher.start(prompt), [], draft.logprob)
            if not self._add(row, draft, waiting, meter):
                rows.append(row)
                picked.append(index)
        cache.take_back(torch.arange(width) < torch.tensor(num_kept).unsqueeze(1))
        return rows, cache.select(picked) if rows else cache

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
            guesses = [look_up(row.prompt.token_ids(), row.tokens, _guess_room(row)) for row in rows]
            texts = [[row.tokens[-1], *guess] for row, guess in zip(rows, guesses, strict=True)]
            width = max(map(len, texts))
            logits = self._engine.ask(texts, cache, width)
            open_rows, picked, num_kept = [], [], []
            for index, (row, guess) in enumerate(zip(rows, guesses, strict=True)):
                checked = check_draft(logits[index, : len(guess) + 1], guess)
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
