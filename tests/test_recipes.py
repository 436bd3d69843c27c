from __future__ import annotations

import gzip
import io
import json
import re
import struct
import subprocess
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from longctx.errors import ConfigError, StoreError, UnknownNameError
from longctx.haystack import get_source, packages, recipes
from longctx.haystack.packages import Package, download, extract
from longctx.haystack.recipes import fetch, is_fetched, load_recipe, recipe_names

TEXTS = ["First chapter. It ends.", "Second chapter."]


def kept(texts: list[str]) -> str:
    """SHA-256 of what is kept of them."""
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    return sha256(lines.encode()).hexdigest()


def package(kind: str = "npm", format: str = "plain", sum: str = "", **more: Any) -> Package:
    return Package(kind, "@books/tale", "1.2", ("package/chapter_*.txt",), sum or kept(TEXTS), format, **more)


def tarball(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


def wheel(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file


CHAPTERS = {
    "package/chapter_10.txt": TEXTS[1].encode(),
    "package/chapter_2.txt": TEXTS[0].encode(),
    "package/readme.md": b"\xff",
}


class Mirror:
    """Gives the same archive for every package, and counts."""

    def __init__(self, members: dict[str, bytes]) -> None:
        self.members = members
        self.asked: list[str] = []
        self.folders: list[Path] = []

    def __call__(self, wanted: Package, folder: Path) -> Path:
        self.asked.append(wanted.package)
        self.folders.append(folder)
        return tarball(folder / "x.tgz", self.members)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of recipes, `tale` and `library`, and an empty cache folder beside it."""
    folder = tmp_path / "haystacks" / "recipes"
    folder.mkdir(parents=True)
    (folder / "tale.toml").write_text(
        f"""title = "A tale"
licence = "CC0"
num_tokens = 9
[[packages]]
kind = "npm"
package = "@books/tale"
version = "1.2"
members = ["package/chapter_*.txt"]
sha256 = "{kept(TEXTS)}"
""",
        encoding="utf-8",
    )
    (folder / "library.toml").write_text(
        'title = "All"\nlicence = "CC0"\nnum_tokens = 9\nrecipes = ["tale"]\n', encoding="utf-8"
    )
    monkeypatch.setattr(recipes, "lists_folder", lambda: tmp_path / "haystacks")
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def files(folder: Path) -> list[str]:
    corpora = folder / "cache" / "corpora"
    return sorted(str(file.relative_to(corpora)) for file in corpora.rglob("*") if file.is_file())


# Fetching.


def test_a_fetched_corpus_is_a_haystack(shelf: Path) -> None:
    mirror = Mirror(CHAPTERS)
    (written,) = fetch("tale", mirror)
    assert written == shelf / "cache" / "corpora" / "tale" / "books-tale.jsonl"
    assert is_fetched(load_recipe("tale"))
    source = get_source("tale")
    assert list(source.sentences(0)) == ["First chapter.", "It ends.", "Second chapter."]
    assert not source.seeded
    assert not mirror.folders[0].exists()


def test_a_second_fetch_does_nothing(shelf: Path) -> None:
    mirror = Mirror(CHAPTERS)
    fetch("tale", mirror)
    assert fetch("tale", mirror) == []
    assert fetch("library", mirror) == []  # made of the same
    assert mirror.asked == ["@books/tale"]
    assert list(get_source("library").sentences(0)) == list(get_source("tale").sentences(0))


def test_a_corpus_that_is_not_here_says_how_to_fetch_it(shelf: Path) -> None:
    with pytest.raises(ConfigError, match="longctx haystack fetch library"):
        get_source("library")


def test_another_text_than_the_recipe_says_is_refused(shelf: Path) -> None:
    members = {**CHAPTERS, "package/chapter_2.txt": b"Another chapter."}
    found = kept(["Another chapter.", TEXTS[1]])
    with pytest.raises(ConfigError, match=f"@books/tale 1.2 .npm. has SHA-256 {found}, .* {kept(TEXTS)}: not kept"):
        fetch("tale", Mirror(members))
    assert files(shelf) == []


def test_a_kept_text_that_was_changed_is_fetched_again(shelf: Path) -> None:
    (written,) = fetch("tale", Mirror(CHAPTERS))
    content = written.read_bytes()
    written.write_bytes(content + b"{}\n")
    with pytest.raises(ConfigError, match="not here yet"):
        get_source("tale")
    assert fetch("tale", Mirror(CHAPTERS)) == [written]
    assert written.read_bytes() == content


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigError])
def test_an_interrupted_download_leaves_nothing(shelf: Path, error: type[BaseException]) -> None:
    seen: list[Path] = []

    def interrupted(wanted: Package, folder: Path) -> Path:
        seen.append(folder)
        (folder / "half.tgz").write_bytes(b"half")
        raise error

    with pytest.raises(error):
        fetch("tale", interrupted)
    assert files(shelf) == []
    assert not seen[0].exists()
    assert len(fetch("tale", Mirror(CHAPTERS))) == 1


def test_an_interrupted_write_leaves_nothing(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(StoreError, match=r"Cannot keep .*books-tale\.jsonl: No space left"):
            fetch("tale", Mirror(CHAPTERS))
    assert files(shelf) == []


def test_an_unknown_recipe_lists_what_there_is(shelf: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean tale"):
        fetch("tail")


# Packages.


def test_members_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["package/chapter_10.txt", "package/chapter_9.txt", "package/chapter_1.txt", "package/other.txt"]
    archive = tarball(tmp_path / "x.tgz", {name: name.encode() for name in names})
    assert extract(package(), archive) == [f"package/chapter_{number}.txt" for number in (1, 9, 10)]
    ordered = Package("npm", "x", "1", ("package/other.txt", "package/chapter_*.txt"), "")
    assert extract(ordered, archive)[0] == "package/other.txt"


def test_marks_are_dropped_and_gzip_is_opened(tmp_path: Path) -> None:
    archive = tarball(tmp_path / "x.tgz", {"./package/chapter_1.txt.gz": gzip.compress(b"**An** [old] tale")})
    wanted = Package("debian", "x", "1", ("package/*.gz",), "", drop=r"[*\[\]]+")
    assert extract(wanted, archive) == ["An old tale"]


def test_the_longest_string_of_a_python_file_is_its_text(tmp_path: Path) -> None:
    code = b'raise SystemExit("short")\nbible = Bible("""\nIn the beginning,\nlight.""", {1: 2})\n'
    archive = wheel(tmp_path / "x-1-py3-none-any.whl", {"x/bible.py": code})
    wanted = Package("pypi", "x", "1", ("x/bible.py",), "", "longest-string")
    assert extract(wanted, archive) == ["\nIn the beginning,\nlight."]


def r_block(lines: list[str], kind: int = 16) -> bytes:
    def string(line: str) -> bytes:
        return struct.pack(">ii", 0x00040009, len(line.encode())) + line.encode()

    header = b"X\n" + struct.pack(">iiii", 3, 0x40201, 0x30500, 5) + b"UTF-8"
    data = header + struct.pack(">ii", kind, len(lines)) + b"".join(map(string, lines))
    return struct.pack(">i", len(data)) + zlib.compress(data)


def test_lines_of_an_r_data_file_are_its_texts(tmp_path: Path) -> None:
    data = r_block(["EMMA", "", "Volume £1"]) + r_block(["PERSUASION"])
    archive = tarball(tmp_path / "x.tgz", {"package/chapter_1.txt": data})
    assert extract(package(format="r-lines"), archive) == ["EMMA\n\nVolume £1", "PERSUASION"]
    archive = tarball(tmp_path / "x.tgz", {"package/chapter_1.txt": r_block([], kind=19)})
    with pytest.raises(ConfigError, match="something else than vectors of lines"):
        extract(package(format="r-lines"), archive)


def test_a_package_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"@books/tale 1.2 \(npm\) holds no file package/chapter_\*\.txt"):
        extract(package(), tarball(tmp_path / "x.tgz", {"package/readme.md": b""}))
    with pytest.raises(ConfigError, match="a format is one of plain, gutenberg, longest-string, r-lines"):
        extract(package(format="pdf"), tarball(tmp_path / "x.tgz", {}))


# The package managers.


class Commands:
    """Stands in for subprocess.run: `act` does what the command would do in its folder."""

    def __init__(self, act: Callable[[Path], None], stdout: bytes = b"") -> None:
        self.act = act
        self.stdout = stdout
        self.seen: list[list[str]] = []

    def __call__(self, command: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[bytes]:
        self.seen.append(command)
        self.act(cwd)
        return subprocess.CompletedProcess(command, 0, self.stdout, b"")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Callable[[Commands], Commands]:
    def install(stand_in: Commands) -> Commands:
        monkeypatch.setattr(packages.shutil, "which", lambda name: name)  # type: ignore[attr-defined]
        monkeypatch.setattr(packages.subprocess, "run", stand_in)  # type: ignore[attr-defined]
        return stand_in

    return install


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("pypi", "@books/tale==1.2"), ("npm", "@books/tale@1.2"), ("debian", "@books/tale")],
)
def test_each_package_manager_is_asked_for_one_archive(
    kind: str, ending: str, tmp_path: Path, commands: Callable[[Commands], Commands]
) -> None:
    asked = commands(Commands(lambda folder: (folder / "archive").touch()))
    assert download(package(kind), tmp_path) == tmp_path / "archive"
    assert asked.seen[0][-1] == ending
    commands(Commands(lambda folder: (folder / "second").touch()))
    with pytest.raises(ConfigError, match="2 files were downloaded"):
        download(package(kind), tmp_path)


def test_a_debian_package_is_unpacked_by_dpkg(tmp_path: Path, commands: Callable[[Commands], Commands]) -> None:
    tar = tarball(tmp_path / "data.tar.gz", {"./package/chapter_1.txt": b"A tale."}).read_bytes()
    asked = commands(Commands(lambda folder: None, tar))
    assert extract(package("debian"), tmp_path / "x.deb") == ["A tale."]
    assert asked.seen[0][0] == "dpkg-deb"


def test_a_failed_download_says_what_the_command_said(tmp_path: Path, commands: Callable[[Commands], Commands]) -> None:
    output = b"npm warn old\n\nnpm error code ENOTFOUND\nnpm error network\nSee the log.\n"

    def fail(_: Path) -> None:
        raise subprocess.CalledProcessError(1, ["npm"], b"", output)

    def wait(_: Path) -> None:
        raise subprocess.TimeoutExpired(["npm"], 1)

    commands(Commands(fail))
    with pytest.raises(ConfigError, match=r"npm pack .*@1\.2 failed: npm error code ENOTFOUND npm error network$"):
        download(package(), tmp_path)
    commands(Commands(wait))
    with pytest.raises(ConfigError, match="no end after 1800 seconds"):
        download(package(), tmp_path)


def test_a_missing_package_manager_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="npm is needed"):
        download(package(), tmp_path)
    with pytest.raises(ConfigError, match="kind pypi, npm, debian, url"):
        download(package("floppy"), tmp_path)


# The web.


BOOK = (
    "\ufeffThe Project Gutenberg eBook of A Tale\r\n*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\r\n"
    "It began.\r\nIt ended.\r\n*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***\r\nThe licence.\r\n"
)


@pytest.fixture
def site() -> Iterator[tuple[str, list[str]]]:
    """A web site on loopback that has /tale and nothing else, and what was asked of it."""
    asked: list[str] = []

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/tale" else 404)
            self.end_headers()
            self.wfile.write(BOOK.encode() if self.path == "/tale" else b"nothing")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def write_url_recipe(shelf: Path, url: str, sha256: str = "") -> None:
    (shelf / "haystacks" / "recipes" / "book.toml").write_text(
        f'title = "A tale"\nlicence = "CC0"\n[[packages]]\nkind = "url"\npackage = "{url}"\nformat = "gutenberg"\n'
        f'sha256 = "{sha256}"\n'
    )


def test_a_book_on_the_web_is_fetched_once(shelf: Path, site: tuple[str, list[str]]) -> None:
    url, asked = site
    write_url_recipe(shelf, f"{url}/tale")
    (written,) = fetch("book")
    assert fetch("book") == []
    assert asked == ["/tale"]
    assert list(get_source("book").sentences(0)) == ["It began.", "It ended."]
    assert json.loads(written.read_text())["text"].strip() == "It began.\r\nIt ended."


def test_what_is_not_the_book_is_refused(shelf: Path, site: tuple[str, list[str]]) -> None:
    url, _ = site
    write_url_recipe(shelf, f"{url}/tale", sha256=kept(TEXTS))
    with pytest.raises(ConfigError, match=r"/tale \(url\) has SHA-256 .*: not kept"):
        fetch("book")
    write_url_recipe(shelf, f"{url}/lost")
    with pytest.raises(ConfigError, match="/lost cannot be had: 404"):
        fetch("book")
    write_url_recipe(shelf, "file:///etc/passwd")
    with pytest.raises(ConfigError, match="is no http or https address"):
        fetch("book")
    with pytest.raises(ConfigError, match=r"START OF and .* END OF"):
        extract(package(format="gutenberg"), tarball(shelf / "x.tgz", CHAPTERS))
    assert files(shelf) == []


# The recipes that come with longctx.


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_are_complete(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.title
    assert recipe.licence
    parts = [load_recipe(part) for part in recipe.recipes]
    assert bool(parts) != bool(recipe.packages)
    if parts:
        assert recipe.num_tokens == sum(part.num_tokens or 0 for part in parts)
    for part in recipe.packages:
        if part.kind == "url":
            assert (part.package[:8], part.format) == ("https://", "gutenberg")
        else:
            assert part.kind in ("pypi", "npm", "debian")
            assert re.fullmatch("[0-9a-f]{64}", part.sha256)
            assert recipe.num_tokens


def test_there_is_enough_natural_prose() -> None:
    assert (load_recipe("public-domain").num_tokens or 0) >= 4_000_000
