"""scripts/bench-text, on small prompts and without the peers, which are fetched from a package index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_bench(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "scripts" / "bench_text.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_bench_reports_what_was_asked_and_got(tmp_path: Path) -> None:
    small = ["--lengths", "4k", "--haystacks", "", "--no-peers", "--corpus-bytes", "60000", "--runs", "1"]
    record = json.loads(run_bench(*small, "--out", str(tmp_path)))
    assert json.loads((tmp_path / "bench-text.json").read_text(encoding="utf-8")) == record
    assert [row["cache"] for row in record["results"]] == ["cold", "warm"]
    for row in record["results"]:
        assert (row["status"], row["got"], row["text_gives_the_count"]) == ("ok", 4096, True)
        assert row["cpu_seconds"] > 0.0
        assert row["peak_mb"] > 10.0
    assert "| longctx | corpus | warm | 10 x 4k |" in (tmp_path / "bench-text.md").read_text(encoding="utf-8")


def test_a_build_is_stopped_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = {"tool": "longctx", "haystack": "narrator", "length": 10 << 20, "num_prompts": 1, "cache": "cold"}
    asked = {"case": case, "haystack": "narrator", "limit": 1.0, "checked": True}
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "cache"))
    run_bench("measure", json.dumps(asked), str(tmp_path / "measured.json"))
    found = json.loads((tmp_path / "measured.json").read_text(encoding="utf-8"))
    assert found["status"] == "stopped after 1 CPU s"
    assert found["cpu_seconds"] > 0
