"""Ten defects planted in our own code: each makes a quick calibration fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from longctx.calibrate.cases import Case, quick_cases
from longctx.calibrate.result import CaseResult
from longctx.calibrate.run import calibrate, open_hf
from longctx.documents import isolated, packed
from longctx.engine.blocks import BlockList, BlockView
from longctx.engine.kv import StreamedCache
from longctx.engine.partial import Merged, Partial
from longctx.engine.selftest import SelfTest
from longctx.engine.staging import Stager
from longctx.records import Prompt, Row, Score
from longctx.scoring import is_slip, score_number
from longctx.sweep import run as sweep_run

Patch = pytest.MonkeyPatch


def run(cases: list[Case], folder: Path, phantoms: Path) -> list[CaseResult]:
    return list(calibrate(cases, folder, open_hf, phantoms, "cpu"))


def test_a_quick_calibration_finds_nothing_off(tmp_path: Path, phantoms: Path) -> None:
    results = run(list(quick_cases()), tmp_path, phantoms)
    assert [result.verdict for result in results] == ["as designed"] * len(results)
    assert len({result.case.name for result in results}) == len(results) >= 9
    assert sum(result.num_cells for result in results) > 140
    for result in results:
        assert result.counts["as designed"] >= 0.75 * len(result.judged)
        for pair in result.effective:
            assert pair.designed == pair.measured
        assert result.kv_bytes[result.case.tier] > 0
    assert {result.case.tier for result in results} == {"device", "host", "disk"}
    (host,) = (result.kv_bytes for result in results if result.case.tier == "host")
    (disk,) = (result.kv_bytes for result in results if result.case.tier == "disk")
    assert host["host"] > host["device"] <= 2**20
    assert (disk["device"], disk["host"]) == (0, 0)


def off_by_one_at_a_block_border(patch: Patch) -> None:
    views = BlockList.views

    def shorter(self: BlockList, stop: int) -> list[BlockView]:
        found = views(self, stop)
        return [BlockView(v.block, v.start, v.skip, v.num_tokens - 1) for v in found[:-1]] + found[-1:]

    patch.setattr(BlockList, "views", shorter)


def a_lost_block(patch: Patch) -> None:
    views = BlockList.views
    patch.setattr(BlockList, "views", lambda self, stop: [v for i, v in enumerate(views(self, stop)) if i != 1])


def a_needle_cut_by_a_splice(patch: Patch) -> None:
    for module in (isolated, packed):
        make: Callable[..., Any] = module.make_document

        def cut(token_ids: list[Any], parts: list[Any], share: float, make: Callable[..., Any] = make) -> Any:
            needles = [b"special number" in bytes(part) for part in parts]
            return make([ids[:-3] if n else ids for ids, n in zip(token_ids, needles, strict=True)], parts, share)

        patch.setattr(module, "make_document", cut)


def reversed_merge_weights(patch: Patch) -> None:
    def add(self: Merged, part: Partial) -> None:
        out, lse = part.out.float(), part.lse.float()
        if self._out is None or self._lse is None:
            self._out, self._lse = out, lse
            return
        weight = torch.sigmoid(self._lse - lse).nan_to_num_(0.5)
        self._out = self._out.lerp_(out, weight.unsqueeze(-1))
        self._lse = torch.logaddexp(self._lse, lse)

    patch.setattr(Merged, "add", add)
    # The self-test of every model that is loaded finds it too, and first.
    patch.setattr("longctx.engine.selftest.self_test", lambda *_: SelfTest(0, 0.0))


def a_wrong_rope_offset_on_a_branch(patch: Patch) -> None:
    def without_stem(self: StreamedCache, layer_idx: int = 0) -> int:
        return self.length - (self.base - self.stem_start if self.asking else 0)

    patch.setattr(StreamedCache, "get_seq_length", without_stem)


def a_stale_copy_on_write(patch: Patch) -> None:
    def forgets(self: Stager, source: Any, target: Any, num_tokens: int) -> None:
        for states in target.states:
            states.zero_()  # a buffer that was used before may hold the right tokens by chance
        target.filled = num_tokens

    patch.setattr(Stager, "copy", forgets)


def a_truncated_prompt(patch: Patch) -> None:
    whole = Prompt.prefix_ids
    patch.setattr(Prompt, "prefix_ids", lambda self: whole(self)[-1024:])


def a_scorer_that_is_too_loose(patch: Patch) -> None:
    def loose(text: str, targets: tuple[str, ...]) -> Score:
        return Score(float(is_slip(text.strip(" ."), targets[0])), near_miss=False)

    patch.setattr("longctx.tasks.niah_single.score_number", loose)


def a_scorer_that_is_too_strict(patch: Patch) -> None:
    def strict(text: str, targets: tuple[str, ...]) -> Score:
        return score_number(text, targets) if text in targets else Score(0.0, near_miss=False)

    patch.setattr("longctx.tasks.niah_single.score_number", strict)


def a_wrong_depth_label(patch: Patch) -> None:
    make = sweep_run.make_row

    def mirrored(*arguments: Any) -> Row:
        row = make(*arguments)
        return dataclasses.replace(row, depth=1 - row.depth)

    patch.setattr(sweep_run, "make_row", mirrored)


@pytest.mark.parametrize(
    ("mutant", "case"),
    [
        (off_by_one_at_a_block_border, "window-1k-packed-bfloat16"),
        (a_lost_block, "window-1k-packed-float32-disk"),
        (a_needle_cut_by_a_splice, "hole-768-1536-packed-float32"),
        (reversed_merge_weights, "window-1k-packed-float32-disk"),
        (a_wrong_rope_offset_on_a_branch, "window-1k-packed-float32-disk"),
        (a_stale_copy_on_write, "window-1k-isolated-float32"),
        (a_truncated_prompt, "hole-768-1536-packed-float32"),
        (a_scorer_that_is_too_loose, "unlimited-misreads-7-packed-float32"),
        (a_scorer_that_is_too_strict, "window-1k-packed-bfloat16"),
        (a_wrong_depth_label, "window-1k-packed-bfloat16"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_defect_makes_a_quick_calibration_fail(
    mutant: Callable[[Patch], None], case: str, tmp_path: Path, phantoms: Path, monkeypatch: Patch
) -> None:
    """One of the quick cases is enough, since one that is off fails them all."""
    mutant(monkeypatch)
    (result,) = run([one for one in quick_cases() if one.name == case], tmp_path, phantoms)
    assert not result.ok
    assert result.off
