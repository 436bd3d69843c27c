"""The built wheel, unpacked where there is no repository, runs a sweep."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_runs_a_sweep_by_itself(model_folder: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("longctx_stress-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert "longctx/report/templates/report.html.j2" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "reports/", "scripts/"))]
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert run("-c", "import longctx; print(longctx.__file__)").startswith(str(site))
    grid = ["--lengths", "300", "--depths", "2", "--trials", "1", "--device", "cpu"]
    output = run("-m", "longctx", "sweep", "--model", str(model_folder), "--out", "run", *grid)
    assert "6 of 6 samples to run" in output
    assert (tmp_path / "run" / "report.html").exists()
