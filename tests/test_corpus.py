from __future__ import annotations

import io
import itertools
import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.documents.filler import load_filler
from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import BudgetError, ConfigError, UnknownNameError
from longctx.haystack import get_source
from longctx.haystack.corpus import MAX_UNIT, collapse, units
from longctx.haystack.mix import parse_mix
from longctx.haystack.python_library import library_files


def sentences(spec: str) -> list[str]:
    return list(get_source(spec).sentences(0))


def write(file: Path, *lines: object) -> Path:
    """JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def write_parquet(file: Path, **columns: list[Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), file)
    return file


# Cutting.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. He left! Why? No.", ["It rained.", "He left!", "Why?", "No."]),
        ('"Go." He went. "Stay," she said.', ['"Go."', 'He went. "Stay," she said.']),
        ("(Quite so.) Then \u201cNo.\u201d She left.", ["(Quite so.)", "Then \u201cNo.\u201d", "She left."]),
        ("Version 3. 5 files. and more.No cut", ["Version 3. 5 files. and more.No cut"]),
        ("Mr. Bennet", ["Mr.", "Bennet"]),  # an abbreviation is cut too: needles may stand there
        ("Он ушёл. Она осталась.", ["Он ушёл.", "Она осталась."]),
        ("  One\n\ttwo.\r\n\r\nThree\x0c \x07 four.\u00a0Five.\n", ["One two.", "Three four.", "Five."]),
        ("\ufeffFirst.", ["First."]),
        ("cafe\u0301", ["caf\u00e9"]),
        (" \n\n ", []),
    ],
)
def test_units_end_where_sentences_do(text: str, expected: list[str]) -> None:
    assert list(units([text])) == expected


def test_what_has_no_sentences_is_cut_at_blanks() -> None:
    table = " ".join(f"{number}|{number * number}" for number in range(2000))
    found = list(units([table]))
    assert " ".join(found) == table
    assert max(map(len, found)) <= MAX_UNIT
    assert min(map(len, found[:-1])) > MAX_UNIT - 20  # as few as can be


def test_a_word_that_is_too_long_is_cut_inside() -> None:
    base64 = "QUJD" * 700
    assert list(units([f"Data: {base64} end."])) == ["Data:", base64[:1000], base64[1000:2000], base64[2000:] + " end."]
    chinese = ("天" * 299 + "。") * 5
    assert [len(unit) for unit in units([chinese])] == [900, 600]


LETTERS = st.text(alphabet='aB.?!" \n\t\r\u00e9\u0301\u4e2d\u3002\x07\u200b\u20281', max_size=80)
LINES = st.lists(
    st.one_of(LETTERS, st.text(max_size=20), st.integers(300, 1500).map(lambda n: "word " * (n // 5))), max_size=12
)


@given(LINES)
def test_units_joined_are_the_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = list(units([text]))
    assert " ".join(found) == collapse(text)
    for unit in found:
        assert 0 < len(unit) <= MAX_UNIT
        assert unit == unit.strip()
        assert "  " not in unit
        assert unit == unicodedata.normalize("NFC", unit)


@given(LINES, st.sets(st.integers(0, 12)))
def test_blocks_do_not_show(lines: list[str], cuts: set[int]) -> None:
    """A file is read in blocks of lines; the units are those of the whole text."""
    borders = [0, *sorted(cut for cut in cuts if cut < len(lines)), len(lines)]
    blocks = ["".join(f"{line}\n" for line in lines[a:b]) for a, b in itertools.pairwise(borders)]
    assert list(units(blocks)) == list(units(["".join(blocks)]))


# Files.


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "b.txt").write_text("Second file. It ends.", encoding="utf-8")
    (tmp_path / "a" / "z.md").write_text("# Heading\n\nFirst file.\n", encoding="utf-8")
    write(tmp_path / "c.jsonl", {"text": "Third. Line one."}, {"text": "Fourth.", "id": 2})
    (tmp_path / "image.png").write_bytes(b"\0\1")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "notes.txt").write_text("Hidden.", encoding="utf-8")
    return tmp_path


TEXT = ["# Heading First file.", "Second file.", "It ends.", "Third.", "Line one.", "Fourth."]


def test_a_folder_is_read_at_any_depth_in_order(library: Path) -> None:
    source = get_source(f"files:{library}")
    assert list(source.sentences(0)) == list(source.sentences(7)) == TEXT
    assert not source.seeded
    assert source.documents is not None
    assert [list(document) for document in source.documents()] == [TEXT[:1], TEXT[1:3], TEXT[3:5], TEXT[5:]]


def test_a_glob_takes_what_it_matches(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (library / "code.py").write_text("x = 1\ny = 2\n", encoding="utf-8")
    assert sentences(f"files:{library}/*.py") == sentences(f"files:{library}/code.py") == ["x = 1 y = 2"]
    assert sentences(f"files:{library}/?.txt") == TEXT[1:3]
    assert sentences(f"files:{library}/**/*.md") == TEXT[:1]
    monkeypatch.setenv("HOME", str(library))
    assert sentences("files:~/b.txt") == TEXT[1:3]


def test_fields_and_columns_are_chosen(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", {"body": "From the body."}, {"body": "And more."})
    assert sentences(f"files:{tmp_path}?field=body") == ["From the body.", "And more."]
    assert sentences(f"files:{tmp_path}/?.jsonl?field=body") == ["From the body.", "And more."]


def test_parquet_gives_a_document_a_row(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "x.parquet", body=["One. Two.", None, "Three."], number=[1, 2, 3])
    assert sentences(f"files:{file}?column=body") == ["One.", "Two.", "Three."]
    with pytest.raises(ConfigError, match=r"no column 'text'; it has: body, number"):
        sentences(f"files:{file}")
    with pytest.raises(ConfigError, match="'number' holds int"):
        sentences(f"files:{file}?column=number")
    file.write_bytes(b"PAR1 and then nothing that makes sense PAR1")
    with pytest.raises(ConfigError, match="not a Parquet file"):
        sentences(f"files:{file}")


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        sentences(f"files:{tmp_path}")


def test_a_file_that_is_there_twice_is_taken_once(library: Path) -> None:
    (library / "a" / "copy.txt").write_bytes((library / "b.txt").read_bytes())
    assert sentences(f"files:{library}") == [*TEXT[1:3], TEXT[0], *TEXT[3:]]


def test_a_file_larger_than_a_block_is_read_in_full(tmp_path: Path) -> None:
    lines = [f"This is line {number}, which is not the last." for number in range(60_000)]
    (tmp_path / "long.txt").write_text("\n".join(lines), encoding="utf-8")
    assert sentences(f"files:{tmp_path}/long.txt") == lines


def test_the_digest_changes_with_the_content_and_nothing_else(library: Path) -> None:
    spec = f"files:{library}"
    before = get_source(spec).digest
    os.utime(library / "b.txt", (1, 1))
    assert get_source(spec).digest == before
    (library / "b.txt").write_text("Second file! It ends.", encoding="utf-8")
    changed = get_source(spec).digest
    assert changed != before
    (library / "new.txt").write_text("New.", encoding="utf-8")
    assert get_source(spec).digest not in (before, changed)
    assert get_source(f"{spec}?field=id").digest != get_source(spec).digest


def test_a_corpus_is_tokenised_without_loss(library: Path, hub_tokenizers: dict[str, Any]) -> None:
    (library / "more.txt").write_text("A table: 1|2|3 x. \u4e2d\u6587 " * 3000, encoding="utf-8")
    source = get_source(f"files:{library}")
    for hub in hub_tokenizers.values():
        haystack = load_filler(source, 0, HubTokenizer(hub), 10_000)
        assert bytes(haystack.text).decode() in "".join(f" {sentence}" for sentence in source.sentences(0)) * 2
        with pytest.raises(BudgetError, match="unique tokens; 9,000,000 are needed"):
            load_filler(source, 0, HubTokenizer(hub), 9_000_000)


# What is refused.


def jsonl(*lines: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "x.jsonl").write_bytes(b"\n".join(lines))
        return f"files:{folder}"

    return make


def plain(content: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "x.txt").write_bytes(content)
        return f"files:{folder / 'x.txt'}"

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: f"files:{folder}/nowhere", "no file or folder .*nowhere"),
        (lambda folder: f"files:{folder}", r"holds no \.txt, \.md, \.jsonl, \.parquet file"),
        (lambda folder: f"files:{folder}/*.txt", r"No file matches .*\*\.txt"),
        (lambda folder: "files:", "needs a folder, a glob or a file"),
        (plain(b""), "holds no text"),
        (plain(b" \n\x07\n"), "holds no text"),
        (plain(b"Text.\n\0\1\2"), "x.txt is a binary file: byte 6 is NUL"),
        (plain(b"Text.\ncaf\xe9 au lait"), "x.txt is not UTF-8: byte 9 is 0xe9"),
        (plain(b"A line of text.\n" * 70_000 + b"\xff"), "byte 1,120,000 is 0xff"),  # in the second block
        (jsonl(b'{"text": "A."}', b"{text}"), "x.jsonl, line 2 is not JSON"),
        (jsonl(b"[1]"), "line 1 is list, not an object"),
        (jsonl(b'{"text": "A."}', b"", b'{"body": "B.", "id": 1}'), "line 3 has no field 'text'; it has: body, id"),
        (jsonl(b"{}"), "it has: none"),
        (jsonl(b'{"text": 3}'), "'text' is int, not text"),
        (jsonl(b'{"text": "A."}', b'{"text": "\xc3"}'), "byte 25 is 0xc3"),
        (lambda folder: plain(b"A.")(folder) + "?colour=red", "'colour=red' is not an option"),
        (lambda folder: plain(b"A.")(folder) + "?field=", "'field=' is not an option"),
        (lambda folder: plain(b"A.")(folder) + "?field=a&field=b", "'field=b' is not an option"),
        (lambda folder: plain(b"A.")(folder) + "?column=a", r"for \.parquet files, and there is none"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, make: Callable[[Path], str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sentences(make(tmp_path))


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    spec = plain(b"A.")(tmp_path)
    source = get_source(spec)
    monkeypatch.setattr(io, "open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"Cannot read .*x\.txt: Permission denied"):
        list(source.sentences(0))
    with pytest.raises(ConfigError, match=r"Cannot read .*x\.txt: Permission denied"):
        get_source(spec)


def test_a_name_that_nothing_has_lists_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match=r"narrator.*public-domain.*python-docs"):
        get_source("reuters")


# The standard library.


def test_the_standard_library_is_code_by_logical_lines() -> None:
    source = get_source("python")
    assert source.documents is not None
    assert not source.seeded
    documents = source.documents()
    first = [list(next(documents)) for _ in range(20)]
    found = list(itertools.chain.from_iterable(first))
    assert "from __future__ import annotations" not in found[0]
    assert any(unit.startswith("def ") and unit.endswith(":") for unit in found)
    assert all(0 < len(unit) <= MAX_UNIT for unit in found)
    assert found == list(itertools.islice(source.sentences(3), len(found)))


def test_docstrings_and_topics_are_prose() -> None:
    source = get_source("python-docs")
    found = list(itertools.islice(source.sentences(0), 2000))
    assert "Record of phased-in incompatible language changes." in found
    assert not [unit for unit in found if unit.startswith("def ")]
    assert source.digest == get_source("python-docs").digest


def test_library_files_are_what_every_machine_has(tmp_path: Path) -> None:
    for name in (
        "b.py",
        "a/c.py",
        "test/x.py",
        "site-packages/x.py",
        "a/tests/x.py",
        "_sysconfigdata_linux.py",
        "x.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert library_files(tmp_path) == [tmp_path / "b.py", tmp_path / "a" / "c.py"]
    with pytest.raises(ConfigError, match="without the sources"):
        library_files(tmp_path / "a" / "tests" / "none")


# Mixes.


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Documents of very different lengths, whose units tell where they come from."""
    write(tmp_path / "red.jsonl", *({"text": "Red is short. " * (1 + number % 40)} for number in range(2000)))
    write(tmp_path / "blue.jsonl", *({"text": "Blue is a longer sentence than red. " * 3000} for _ in range(10)))
    return tmp_path


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_a_mix_keeps_its_shares_to_the_end(colours: Path, share: float) -> None:
    spec = f"mix:files:{colours}/red.jsonl={share},files:{colours}/blue.jsonl?field=text={1 - share:.1f}"
    source = get_source(spec)
    found = list(source.sentences(0))
    for part in (found, found[: len(found) // 2]):
        red = sum(len(unit) + 1 for unit in part if unit.startswith("Red"))
        assert red / sum(len(unit) + 1 for unit in part) == pytest.approx(share, abs=0.02)
    assert found == list(source.sentences(1))
    assert not source.seeded


def test_a_mix_changes_over_after_whole_documents(colours: Path) -> None:
    found = sentences(f"mix:files:{colours}/red.jsonl=0.5,files:{colours}/blue.jsonl=0.5")
    runs = [(name, len(list(group))) for name, group in itertools.groupby(unit.split()[0] for unit in found)]
    blue = [length for name, length in runs if name == "Blue"]
    assert blue[0] == 223  # 8,000 characters of a longer document
    ends = set(itertools.accumulate(1 + number % 40 for number in range(2000)))
    reds = list(itertools.accumulate(length for name, length in runs if name == "Red"))
    assert set(reds) <= ends


def test_a_mix_of_generators_is_seeded_and_endless() -> None:
    mixed = get_source("mix:narrator=0.5,noise=0.5")
    assert mixed.seeded
    assert list(itertools.islice(mixed.sentences(0), 500)) != list(itertools.islice(mixed.sentences(1), 500))


def test_the_digest_of_a_mix_follows_parts_and_shares(colours: Path) -> None:
    def digest(red: float) -> str:
        return get_source(f"mix:files:{colours}/red.jsonl={red},narrator={1 - red:.1f}").digest

    before = digest(0.4)
    assert before == digest(0.4) != digest(0.6)
    write(colours / "red.jsonl", {"text": "Another red."})
    assert digest(0.4) != before


def test_shares_are_found_after_options_and_commas() -> None:
    spec = "mix:files:/d/a,b=2.txt=0.25,files:/d/*.jsonl?field=text=0.5,python=.25"
    assert parse_mix(spec) == {"files:/d/a,b=2.txt": 0.25, "files:/d/*.jsonl?field=text": 0.5, "python": 0.25}
    assert parse_mix("mix:a=0.333,b=0.333,c=0.333")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mix:python=0.7,narrator=0.2", "add up to 0.9; they must add up to 1"),
        ("mix:python=0.7,narrator=0.302", "add up to 1.002"),
        ("mix:", "add up to 0"),
        ("mix:python", "'python' is not HAYSTACK=SHARE"),
        ("mix:python=0.5,narrator", "'narrator' is not HAYSTACK=SHARE"),
        ("mix:python=0,narrator=1", "'0' is not a share"),
        ("mix:python=1.2.3", "'1.2.3' is not a share"),
        ("mix:python=2", "'2' is not a share"),
        ("mix:python=0.5,python=0.5", "there twice"),
        ("mix:mix:python=1", "itself a mix"),
        ("mix:pyhton=1", "Unknown haystack 'pyhton'. Did you mean python"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_source(spec)
