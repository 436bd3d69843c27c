"""Runs a case: a phantom's folder, samples, a backend and rows, by the code that sweeps any model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from longctx import environment
from longctx.backends.base import Backend
from longctx.calibrate.cases import Case
from longctx.calibrate.expectation import expect
from longctx.calibrate.result import CaseResult, summarise_case
from longctx.config import KvBudget, SweepConfig
from longctx.engine.loading import ModelCard, read_card
from longctx.engine.sources import find_source
from longctx.errors import UnknownNameError
from longctx.phantom.design import FILE, read_design
from longctx.phantom.folder import write_phantom
from longctx.samples import make_samples
from longctx.store import RunFolder, check_identity, read_rows
from longctx.sweep.plan import resolve
from longctx.sweep.run import missing, run_samples, samples_digest

OpenBackend = Callable[[ModelCard, SweepConfig, KvBudget], AbstractContextManager[Backend]]


def _open_hf(card: ModelCard, config: SweepConfig, budget: KvBudget) -> AbstractContextManager[Backend]:
    from longctx.backends.hf import HuggingFaceBackend

    return HuggingFaceBackend(card, config, budget)


BACKENDS: dict[str, OpenBackend] = {"hf": _open_hf}
"""Backends by name: what makes one for a model."""


def find_backend(name: str) -> OpenBackend:
    """The backend called `name`; raises UnknownNameError."""
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    return BACKENDS[name]


def calibrate(
    cases: Iterable[Case], folder: Path, open_backend: OpenBackend, phantoms: Path, device: str = "auto"
) -> Iterator[CaseResult]:
    """Run the cases one after the other, each into a run folder in `folder`.

    `phantoms` holds the models, which are written where they are missing. Raises LongctxError.
    """
    for case in cases:
        yield run_case(case, folder, open_backend, phantoms, device)


def run_case(case: Case, folder: Path, open_backend: OpenBackend, phantoms: Path, device: str = "auto") -> CaseResult:
    """Sweep a case's phantom and set its rows against its design; raises LongctxError."""
    model = phantoms / f"{case.design.name}-{case.tokenizer}"
    if not (model / FILE).exists():
        write_phantom(case.design, model, case.tokenizer)
    card = read_card(find_source(str(model)))
    config = resolve(dataclasses.replace(case.config, model=str(model), device=device), card)
    samples = make_samples(config, card.tokenizer)
    design = read_design(model)
    expectations = {sample.id: expect(sample, design) for sample in samples}
    out = folder / case.name
    identity: dict[str, Any] = {"config": config.to_json(), "samples": samples_digest(samples)}
    check_identity(out, identity)
    todo = missing(samples, read_rows(out))
    if todo:
        with open_backend(card, config, _budget(case, out)) as backend:
            start = environment.describe_start(getattr(backend, "checks", {}))
            with RunFolder(out, {**identity, "model": backend.fingerprint}, start) as run:
                run_samples(todo, config, card.window, backend, run, lambda row: None, lambda flops: None)
    return summarise_case(dataclasses.replace(case, design=design), case.name, read_rows(out), expectations)


def _budget(case: Case, out: Path) -> KvBudget:
    """Where the case's keys and values live."""
    if case.on_disk:
        return KvBudget(0, 0, out / "kv", str(out.resolve()), case.block_tokens)
    return KvBudget(device_bytes=case.device_bytes, block_tokens=case.block_tokens)
