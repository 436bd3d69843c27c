"""Runs a case: a phantom's folder, samples, a backend and rows, by the code that sweeps any model."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from longctx import environment
from longctx.backends.base import Backend
from longctx.calibrate.cases import Case
from longctx.calibrate.expectation import expect
from longctx.calibrate.judge import HEARD
from longctx.calibrate.result import CaseResult, summarise_case
from longctx.config import KvBudget, SweepConfig
from longctx.engine.loading import ModelCard, read_card
from longctx.engine.machine import default_budgets
from longctx.engine.sources import find_source
from longctx.phantom.design import FILE, read_design
from longctx.phantom.folder import write_phantom
from longctx.records import Sample
from longctx.samples import make_samples
from longctx.store import RunFolder, check_identity, read_manifest, read_rows
from longctx.sweep.endpoint import resolve_endpoint
from longctx.sweep.plan import resolve
from longctx.sweep.run import run_samples, samples_digest

OpenBackend = Callable[[ModelCard, SweepConfig, KvBudget], AbstractContextManager[Backend]]


def open_hf(card: ModelCard, config: SweepConfig, budget: KvBudget) -> AbstractContextManager[Backend]:
    """A phantom in this process, by the engine."""
    from longctx.backends.hf import HuggingFaceBackend

    return HuggingFaceBackend(card, config, budget)


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
    model = _write_once(case, phantoms)
    card = read_card(find_source(str(model)))
    config = _resolve(dataclasses.replace(case.config, model=str(model), device=device), card)
    samples = make_samples(config, card.tokenizer)
    design = read_design(model)
    expectations = {sample.id: expect(sample, design) for sample in samples}
    out = folder / case.name
    identity: dict[str, Any] = {"config": config.to_json(), "samples": samples_digest(samples)}
    check_identity(out, identity)
    answered = {row.sample_id for row in read_rows(out) if row.status in HEARD}
    if todo := [sample for sample in samples if sample.id not in answered]:
        with open_backend(card, config, _budget(case, out, config.device)) as backend:
            _answer(todo, config, card.window, backend, out, identity)
    case = dataclasses.replace(case, design=design)
    return summarise_case(case, case.name, read_rows(out), expectations, _kv_bytes(out))


def _write_once(case: Case, phantoms: Path) -> Path:
    """The folder of the case's phantom; whole or not there, whichever process writes it and whatever stops it."""
    model = phantoms / f"{case.design.name}-{case.tokenizer}"
    if not (model / FILE).exists():
        phantoms.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=phantoms, prefix=".writing-") as unfinished:
            write_phantom(case.design, Path(unfinished) / "model", case.tokenizer)
            try:
                os.rename(Path(unfinished) / "model", model)
            except OSError:
                if not (model / FILE).exists():  # else another process was faster, and wrote the same
                    raise
    return model


def _resolve(config: SweepConfig, card: ModelCard) -> SweepConfig:
    if config.backend == "openai":
        return resolve_endpoint(config, card.tokenizer, card.window)
    return resolve(config, card)


def _answer(
    todo: list[Sample], config: SweepConfig, window: int, backend: Backend, out: Path, identity: dict[str, Any]
) -> None:
    """Answer what has no score yet, and note where keys and values were if the backend says so."""
    start = environment.describe_start(getattr(backend, "checks", {}))
    with RunFolder(out, {**identity, "model": backend.fingerprint}, start) as run:
        began, flops = time.monotonic(), [0]
        run_samples(todo, config, window, backend, run, lambda row: None, flops.append)
        if kv_bytes := getattr(backend, "kv_bytes", {}):
            took = {"flops": sum(flops), "seconds": round(time.monotonic() - began, 3)}
            run.record_end({"ended": environment.utc_now(), **took, "kv_bytes": kv_bytes})


def _kv_bytes(out: Path) -> Mapping[str, int]:
    """The most that each tier held in any start that came to its end."""
    ends = read_manifest(out).get("ends", [])
    tiers = {tier for end in ends for tier in end["kv_bytes"]}
    return {tier: max(end["kv_bytes"].get(tier, 0) for end in ends) for tier in sorted(tiers)}


def _budget(case: Case, out: Path, device: str) -> KvBudget:
    """Where the case's keys and values live."""
    if case.on_disk:
        return KvBudget(0, 0, out / "kv", str(out.resolve()), case.block_tokens)
    # Beside a CPU there is no other memory than its own, unless it is asked for.
    host_bytes = default_budgets(device)[0] if case.tier == "host" and device == "cpu" else None
    return KvBudget(case.device_bytes, host_bytes, block_tokens=case.block_tokens)
