"""Imports point one way, and torch stays out of what must work without it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "longctx"

# From the bottom up: a module may import from its own layer's package and from lower layers.
LAYERS = [
    {"errors", "records"},
    {"lengths", "sizes", "files", "pages"},
    {"config", "haystack", "statistics", "environment", "addressable"},
    {"fiction"},
    {"documents", "scoring", "store"},
    {"tasks"},
    {"samples"},
    {"engine"},
    {"check", "phantom"},
    {"backends"},
    {"sweep", "generate", "compare"},
    {"report"},
    {"exchange"},
    {"notebook"},
    {"calibrate"},
    {"terminal"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> set[str]:
    """The parts of longctx that a file imports anywhere in it, those for type checkers included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            whole = node.module == "longctx"
            names = [f"longctx.{alias.name}" for alias in node.names] if whole else [str(node.module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("longctx.")} - {"__version__"}
    return found


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_part_has_a_layer() -> None:
    parts = {part(path) for path in ROOT.rglob("*.py")} - {"__init__"}
    assert parts == set(RANK)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = part(path)
    if own == "__init__":
        assert imports(path) <= {"notebook"}  # inside a function, see below
        return
    upward = {name for name in imports(path) - {own} if RANK[name] >= RANK[own]}
    assert not upward, f"{path} imports {upward} from its own or a higher layer"


def loaded_after(code: str) -> set[str]:
    """Names of the modules that are loaded after `code` ran in a new interpreter."""
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import longctx\nlongctx.load",
        "from longctx.cli import main\ntry: main(['report', '--help'])\nexcept SystemExit: pass",
        "from longctx.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from longctx.cli import main\ntry: main(['sweep', '--help'])\nexcept SystemExit: pass",
        "from longctx.cli import main\ntry: main(['plan', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_help_loads_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & {"torch", "transformers", "numpy", "pandas", "matplotlib", "rich"}


@pytest.mark.parametrize(
    "module",
    [
        "longctx.report.write",
        "longctx.exchange.write",
        "longctx.notebook",
        "longctx.documents.build",
        "longctx.tasks",
        "longctx.store",
        "longctx.engine.placement",
        "longctx.engine.machine",
        "longctx.engine.ranks",
        "longctx.compare.finished",
        "longctx.compare.kept",
        "longctx.compare.page",
        "longctx.compare.served",
    ],
)
def test_no_torch_where_no_tensors_live(module: str) -> None:
    assert "torch" not in loaded_after(f"import {module}")
