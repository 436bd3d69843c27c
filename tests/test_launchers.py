"""Really launched: torchrun starts two processes, each answers its documents, and the rows are those of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from test_shard import without_times

from longctx.cli import main
from longctx.store import read_manifest, read_rows

ROOT = Path(__file__).parents[1]


def test_two_launched_processes_write_the_rows_of_one(model_folder: Path, tmp_path: Path) -> None:
    options = ["--model", str(model_folder), "--lengths", "300", "--depths", "2", "--trials", "2", "--device", "cpu"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    sweep = ["-m", "longctx", "sweep", *options, "--no-controls", "--out", str(tmp_path / "parts")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launched = subprocess.run([*launcher, *sweep], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert launched.returncode == 0, launched.stderr
    alone = CliRunner().invoke(main, ["sweep", *options, "--no-controls", "--out", str(tmp_path / "alone")])
    assert alone.exit_code == 0, alone.output
    assert without_times(read_rows(tmp_path / "parts")) == without_times(read_rows(tmp_path / "alone"))
    names = {path.name for path in (tmp_path / "parts").glob("*.jsonl")}
    assert names == {"rows-1-of-2.jsonl", "rows-2-of-2.jsonl"}
    assert (tmp_path / "parts" / "report.html").exists()
    assert len(read_manifest(tmp_path / "parts")["starts"]) == 2
