"""Runs in a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from report_runs import DEPTHS, LENGTHS, ROWS, write_run

import longctx
from longctx.errors import StoreError, UnknownNameError


def test_a_run_is_tables_and_figures(tmp_path: Path) -> None:
    runs = longctx.load(write_run(tmp_path))
    assert len(runs.rows) == len(ROWS)
    assert runs.rows.score.isna().sum() == 1  # the sample that failed, not a zero
    assert len(runs.cells) == len(LENGTHS) * len(DEPTHS)
    by_length = runs.cells.groupby("length").num_right.sum()
    assert by_length.to_dict() == {1024: 9, 2048: 6, 4096: 8}
    for figure in (runs.heatmap(), runs.curve(task="niah_single", theme="dark"), runs.bars()):
        assert isinstance(figure, Figure)
    shown = runs._repr_html_()
    assert "&lt;b&gt;model" in shown
    assert "<svg" in shown


def test_several_runs_share_their_tables(tmp_path: Path) -> None:
    runs = longctx.load(write_run(tmp_path / "a"), str(write_run(tmp_path / "b")))
    assert set(runs.cells.run) == {"a <b>model</b> (a)", "a <b>model</b> (b)"}
    assert len(runs.verdicts) == 2


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a run folder"):
        longctx.load(tmp_path / "none")
    with pytest.raises(UnknownNameError, match="Known: niah_single"):
        longctx.load(write_run(tmp_path)).heatmap("vt")
