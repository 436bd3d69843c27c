"""Runs a plan's samples that have no score yet, and keeps each row as soon as it is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from longctx.addressable import is_finding
from longctx.backends.base import Backend
from longctx.config import SweepConfig
from longctx.environment import utc_now
from longctx.records import Answer, Row, Sample, Score, Served, TokenIds
from longctx.store import RunFolder, ids_digest
from longctx.sweep.excerpt import excerpt, question
from longctx.tasks import parse_task


def missing(samples: Sequence[Sample], rows: Iterable[Row]) -> list[Sample]:
    """The samples without a row of status ok: those never run, and those that failed.

    A canary in a prompt that is too long, cut or counted otherwise found what it looked for.
    """
    done = {row.sample_id for row in rows if row.status == "ok" or is_finding(row)}
    return [sample for sample in samples if sample.id not in done]


def samples_digest(samples: Iterable[Sample]) -> str:
    """Hash of all sample ids: it changes when code, word lists or a template's date make other prompts of a config."""
    return ids_digest(sample.id for sample in samples)


def run_samples(
    samples: Sequence[Sample],
    config: SweepConfig,
    window: int,
    backend: Backend,
    folder: RunFolder,
    on_row: Callable[[Row], None],
    on_progress: Callable[[int], None],
    decode: Callable[[list[int]], str] | None = None,
) -> None:
    """Answer, score and store every sample; raises StoreError when a row cannot be written.

    `decode` makes text of token ids, for the excerpt that a row holds of its prompt; without it there is none.
    A backend that answers a prompt that it was not given, or leaves one out, raises RuntimeError.
    """
    waiting = {sample.id: sample for sample in samples}
    tasks = {spec: parse_task(spec) for spec in {sample.cell.task for sample in samples}}
    for answer in backend.answers([sample.prompt for sample in samples], _drafts(samples), on_progress):
        sample = waiting.pop(answer.prompt_id, None)
        if sample is None:
            raise RuntimeError(f"the backend answered {answer.prompt_id} without being asked")
        score = tasks[sample.cell.task].judge(answer.text, sample) if answer.status == "ok" else None
        row = make_row(sample, config, window, answer, score, excerpt(sample, decode) if decode else "")
        folder.append(row)
        on_row(row)
    if waiting:
        raise RuntimeError(f"the backend left {len(waiting)} prompts unanswered")


def follow_samples(samples: Sequence[Sample], backend: Backend) -> None:
    """Answer in step with the rank that scores and stores the same samples."""
    for _ in backend.answers([sample.prompt for sample in samples], _drafts(samples), lambda flops: None):
        pass


def _drafts(samples: Sequence[Sample]) -> dict[str, TokenIds]:
    return {sample.id: sample.draft_ids for sample in samples if len(sample.draft_ids)}


def make_row(
    sample: Sample, config: SweepConfig, window: int, answer: Answer, score: Score | None, shown: str = ""
) -> Row:
    """The flat row of one answered sample; `window` is the advertised one, in tokens; `shown` is the row's excerpt."""
    return Row(
        sample_id=sample.id,
        task=sample.cell.task,
        design=config.design,
        length=sample.cell.length,
        depth=sample.cell.depth,
        trial=sample.cell.trial,
        status=answer.status,
        score=None if score is None else score.value,
        near_miss=None if score is None else score.near_miss,
        targets=sample.targets,
        answer=answer.text,
        error=answer.error,
        beyond_window=sample.cell.length > window,
        needle_position=sample.support_positions[0] if sample.support_positions else None,
        needle_depth=round(sample.needle_depth, 6),
        num_prompt_tokens=sample.prompt.num_tokens,
        max_new_tokens=sample.prompt.max_new_tokens,
        num_completion_tokens=answer.num_completion_tokens,
        num_prefilled_tokens=answer.num_prefilled_tokens,
        num_prefilled_prefix_tokens=answer.num_prefilled_prefix_tokens,
        target_logprob=answer.target_logprob,
        seconds=round(answer.seconds, 6),
        finished=utc_now(),
        strict_score=None if score is None else score.strict,
        control=sample.control,
        kind=sample.question.kind,
        hops=sample.question.hops,
        num_candidates=len(sample.question.candidates),
        support_positions=sample.support_positions,
        repeated_share=round(sample.prompt.document.repeated_share, 6),
        excerpt=shown,
        question=question(sample),
        **dataclasses.asdict(answer.served or Served()),
    )
