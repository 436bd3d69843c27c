"""The sources that Python itself ships, as a haystack that needs no download.

`python`: code. A unit is a logical line (a statement, or the head of a block) with the comment lines above it;
one that is long or holds sentences, such as a docstring, is cut as prose is. A document is a file.
`python-docs`: prose. A unit is a sentence of a docstring or of a help topic. A document is a file or a topic.

Left out are tests, which not every system installs, code page tables and what the build wrote for one machine.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import io
import os
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from longctx.errors import ConfigError
from longctx.haystack import Source
from longctx.haystack import corpus as cutting
from longctx.haystack.corpus import from_documents, units

_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "lib2to3",
    "encodings",
    "pydoc_data",
    "__pycache__",
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def python_source(name: str) -> Source:
    """The source `python` or `python-docs`; raises ConfigError where Python came without its sources."""
    files = library_files(Path(sysconfig.get_path("stdlib")))
    found = hashlib.sha256(sys.version.encode())
    for path in (Path(__file__), Path(str(cutting.__file__)), *files):
        found.update(path.read_bytes())
    documents = partial(_docs if name == "python-docs" else _code, files)
    return from_documents(name, found.hexdigest()[:16], documents)


def library_files(folder: Path) -> list[Path]:
    """The files of the standard library in `folder`, sorted."""
    files: list[Path] = []
    for inside, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _LEFT_OUT)  # not even looked into: site-packages may be huge
        files += [Path(inside, name) for name in sorted(names) if name.endswith(".py")]
    files = [file for file in files if not file.name.startswith("_sysconfigdata")]
    if not files:
        raise ConfigError(f"This Python came without the sources of its library: there is none in {folder}.")
    return files


def _code(files: list[Path]) -> Iterator[Iterator[str]]:
    for file in files:
        yield _logical_lines(_text(file))


def _text(file: Path) -> str:
    with tokenize.open(file) as opened:
        return opened.read()


def _logical_lines(source: str) -> Iterator[str]:
    lines = io.StringIO(source).readlines()
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            yield from units(["".join(lines[start : token.end[0]])])
            start = token.end[0]


def _docs(files: list[Path]) -> Iterator[Iterator[str]]:
    for file in files:
        yield _docstrings(_text(file))
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for topic in sorted(topics):
        yield units([topics[topic]])


def _docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED):
            yield from units([ast.get_docstring(node, clean=False) or ""])
