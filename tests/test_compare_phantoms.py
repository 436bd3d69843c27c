"""Comparisons of models whose every answer is known: a phantom, its twin that differs in four weights, and others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from bench_compare import chance_to_find, least_lost
from click.testing import CliRunner

from longctx.calibrate.cases import Case
from longctx.calibrate.run import open_hf, run_case
from longctx.cli import main
from longctx.compare.kept import read_kept
from longctx.compare.paired import mcnemar
from longctx.config import SweepConfig
from longctx.phantom.design import Design
from longctx.phantom.folder import write_phantom
from longctx.phantom.keys import draw_muted, share_answered, twin_muted
from longctx.store import read_rows

SIBLING = Design(2**17)
TWIN = dataclasses.replace(SIBLING, muted=twin_muted(()))
TENTH = dataclasses.replace(SIBLING, muted=draw_muted(0.1))
GRID = SweepConfig(
    lengths=(2048,),
    depths=tuple(i / 39 for i in range(40)),
    trials=10,
    design="packed",
    dtype="float32",
    chunk=128,
    controls=False,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, phantoms: Path) -> tuple[Path, Path]:
    """400 questions about 10 documents, to both."""
    folder = tmp_path_factory.mktemp("runs")
    cases = [Case(design, GRID) for design in (SIBLING, TWIN)]
    for case in cases:
        run_case(case, folder, open_hf, phantoms, "cpu")
    sibling, twin = (folder / case.name for case in cases)
    return sibling, twin


def compared(a: Path, b: Path, out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and what compare.json holds of the comparison."""
    result = CliRunner().invoke(main, ["compare", str(a), str(b), "--out", str(out), *more])
    found: dict[str, Any] = json.loads((out / "compare.json").read_text())["comparison"]
    return result.exit_code, found


def test_a_twin_is_found_by_what_it_alone_misses(runs: tuple[Path, Path], tmp_path: Path) -> None:
    code, found = compared(*runs, tmp_path)
    assert code == 3
    (finding,) = found["findings"]
    scores = [[row.score for row in read_rows(run)] for run in runs]
    assert set(scores[0]) == {1.0}
    lost = scores[1].count(0.0)
    assert finding["num"] == 400
    assert finding["effect"] == pytest.approx(-100 * lost / 400)
    assert lost / 400 == pytest.approx(2 / 76, abs=0.02)
    assert finding["p"] == pytest.approx(2 * 0.5**lost)


def test_a_phantom_does_not_differ_from_itself(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for run in runs:
        code, found = compared(run, run, tmp_path / run.name)
        assert code == 0
        assert [(f["effect"], f["p"]) for f in found["findings"]] == [(0.0, 1.0)]


def test_phantoms_are_asked_and_told_apart(tmp_path: Path) -> None:
    """One of them has an answer to a tenth of the keys: it says nothing to the others, which is wrong."""
    for name, design in (("whole", SIBLING), ("part", TENTH)):
        write_phantom(design, tmp_path / name)
    grid = ["--lengths", "256", "--items", "12", "--samples", "0", "--device", "cpu", "--dtype", "float32"]
    code, found = compared(tmp_path / "whole", tmp_path / "part", tmp_path / "out", *grid)
    assert code == 3
    assert {(f["effect"], f["p"]) for f in found["floor"]} == {(0.0, 1.0)}  # the same weights say the same
    lost = [one.answer.text == "" for (go, _), one in read_kept(tmp_path / "out").items() if go == "other"].count(True)
    by_test = {f["test"]: f for f in found["findings"]}
    assert by_test["answers (McNemar)"]["effect"] == pytest.approx(-100 * lost / 12)
    assert by_test["answers (McNemar)"]["p"] == pytest.approx(2 * 0.5**lost)
    assert by_test["where greedy texts part"]["effect"] == 0.0  # neither goes on with a text


def test_the_power_to_find_a_twin_is_that_of_the_test() -> None:
    for num_tests in (1, 2, 4):
        lost = least_lost(num_tests)
        shown = [num_tests * mcnemar(256, [True] * 50, [False] * n + [True] * (50 - n)).p for n in (lost - 1, lost)]
        assert shown[1] < 0.05 <= shown[0]
    share = 1 - share_answered(TWIN.muted)
    assert share == pytest.approx(2 / 76)
    chances = [chance_to_find(num, share, 2) for num in (50, 200, 400, 800)]
    assert chances[0] < 0.01
    assert chances == sorted(chances)
    assert chances[-1] > 0.999
    assert chance_to_find(least_lost(1), 0.5, 1) == pytest.approx(0.5 ** least_lost(1))
