"""People's own text files as a haystack: `files:FOLDER`, `files:GLOB`, `files:FILE`, each once and in order.

A unit is a sentence of a document: cut at a blank that comes after a full stop, question or exclamation mark and
before a capital letter, where no tokenizer in the tests merges. (An abbreviation before a name is cut too: no harm
is done.) What has no such ends (tables, code) is cut at blanks into at most 1,000 characters. The text is NFC, with
any white space and control characters collapsed to one blank, so units joined by blanks are the document again.
"""

from __future__ import annotations

import glob
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from longctx.errors import ConfigError
from longctx.files import file_digest
from longctx.haystack import Source
from longctx.haystack import readers as reading
from longctx.haystack.readers import RECORDS, SUFFIXES, Keys, naming, read_documents

MAX_UNIT = 1000
"""Characters."""

_GAP = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\ufeff]+")
# A stop, closing quotes and brackets, a blank; whether a capital follows is asked of the character.
_END = re.compile(r"[.!?][\"'\u201d\u2019\u00bb)\]]{0,3} (?=\w)")
# The longest run of whole words; of a word longer than that (base64, or a script without blanks) a part, which
# ends after an ideographic stop if there is one.
_PART = re.compile(
    rf"\S(?:.{{0,{MAX_UNIT - 2}}}\S)?(?= |$)|\S{{0,{MAX_UNIT - 1}}}[\u3002\uff01\uff1f]|\S{{1,{MAX_UNIT}}}"
)
# What follows the last question mark, which may also be part of a glob.
_OPTIONS = re.compile(r"\?(\w+=[^?]*)$")
# The digest of a large file is kept; a small one is hashed again sooner than its kept digest is found.
_LARGE_BYTES = 1 << 20


def collapse(text: str) -> str:
    """NFC, every run of white space and control characters one blank, none at the ends."""
    return _GAP.sub(" ", unicodedata.normalize("NFC", text)).strip(" ")


def units(blocks: Iterable[str]) -> Iterator[str]:
    """The sentences of a document that comes in blocks of whole lines."""
    rest = ""
    for block in blocks:
        *whole, rest = _cut(collapse(f"{rest} {block}"))
        yield from whole
    if rest:
        yield rest


def _cut(text: str) -> list[str]:
    """Units of collapsed text, at least one; all but the last stay the same whatever is added to the text."""
    sentences = []
    start = 0
    for match in _END.finditer(text):
        if text[match.end()].isupper():
            sentences.append(text[start : match.end() - 1])
            start = match.end()
    sentences.append(text[start:])
    return [part for sentence in sentences for part in _parts(sentence)]


def _parts(sentence: str) -> list[str]:
    return [sentence] if len(sentence) <= MAX_UNIT else _PART.findall(sentence)


def from_documents(name: str, digest: str, documents: Callable[[], Iterator[Iterator[str]]]) -> Source:
    """A source of fixed text: all of its sentences once, whatever the seed; raises ConfigError if there are none."""

    def sentences(seed: int) -> Iterator[str]:
        empty = True
        for sentence in chain.from_iterable(documents()):
            empty = False
            yield sentence
        if empty:
            raise ConfigError(f"The haystack {name!r} holds no text: its files are empty.")

    return Source(name, digest, sentences, seeded=False, documents=documents)


def from_files(name: str, files: Sequence[Path], keys: Keys) -> Source:
    """The documents of `files`, in their order; a file with the same content as one before is left out."""
    by_content: dict[str, Path] = {}
    for file in files:
        by_content.setdefault(_digest(file), file)
    found = hashlib.sha256(repr((keys, list(by_content))).encode())
    for module in (__file__, str(reading.__file__)):
        found.update(Path(module).read_bytes())

    def documents() -> Iterator[Iterator[str]]:
        for file in by_content.values():
            for document in read_documents(file, keys):
                yield units(document)

    return from_documents(name, found.hexdigest()[:16], documents)


def _digest(file: Path) -> str:
    """Of the content, and of the way in which it is read."""
    with naming(file):
        large = file.stat().st_size >= _LARGE_BYTES
        content = file_digest(file) if large else hashlib.sha256(file.read_bytes()).hexdigest()
    return content + (file.suffix if file.suffix in RECORDS else "")


def files_source(spec: str) -> Source:
    """The source of `files:WHERE` or `files:WHERE?field=NAME&column=NAME`; raises ConfigError."""
    where, options = _parse(spec)
    files = find_files(where)
    for option, suffix in (("field", ".jsonl"), ("column", ".parquet")):
        if option in options and not any(file.suffix == suffix for file in files):
            raise ConfigError(f"{spec}: {option}= is for {suffix} files, and there is none.")
    return from_files(spec, files, Keys(**options))


def _parse(spec: str) -> tuple[str, dict[str, str]]:
    where = spec.removeprefix("files:")
    options: dict[str, str] = {}
    if match := _OPTIONS.search(where):
        where = where[: match.start()]
        for option in match[1].split("&"):
            key, _, value = option.partition("=")
            if key not in ("field", "column") or not value or key in options:
                raise ConfigError(f"{spec}: {option!r} is not an option. Legal: ?field=NAME (.jsonl), ?column=NAME.")
            options[key] = value
    if not where:
        raise ConfigError("files: needs a folder, a glob or a file: files:/data/novels, files:/data/*.jsonl?field=body")
    return where, options


def find_files(where: str) -> list[Path]:
    """A folder's readable files at any depth, hidden ones left out; or the file; or what a glob matches. Sorted."""
    path = Path(where).expanduser()
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        files = [file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        if not files:
            raise ConfigError(f"The folder {path} holds no {', '.join(SUFFIXES)} file.")
        return files
    if path.is_file():
        return [path]
    if not glob.has_magic(where):
        raise ConfigError(f"There is no file or folder {path}.")
    files = sorted(file for file in map(Path, glob.glob(str(path), recursive=True)) if file.is_file())
    if not files:
        raise ConfigError(f"No file matches {path}.")
    return files
