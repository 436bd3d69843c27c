from __future__ import annotations

import json
import multiprocessing
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

from longctx.errors import StoreError
from longctx.files import write_atomically
from longctx.store import RunFolder, check_identity, read_manifest, read_rows

IDENTITY: dict[str, Any] = {
    "config": {"trials": 3, "lengths": (1024, 2048)},
    "model": {"weights": "abc"},
    "tasks": ["t"],
}


def open_folder(path: Path, **changes: object) -> RunFolder:
    return RunFolder(path, {**IDENTITY, **changes}, {"started": "now"})


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [make_row(sample_id="a"), make_row(sample_id="b", status="oom", score=None, near_miss=None, error="OOM")]
    with open_folder(tmp_path / "run") as folder:
        for row in rows:
            folder.append(row)
            assert row in read_rows(tmp_path / "run")  # flushed at once, not at the end
    assert read_rows(tmp_path / "run") == rows


def test_the_later_row_of_a_sample_counts(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.append(make_row(status="error", score=None, near_miss=None, error="lost"))
        folder.append(make_row(score=0.0))
    assert read_rows(tmp_path) == [make_row(score=0.0)]


@given(st.integers(1, 400))
def test_a_line_torn_anywhere_loses_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("run")
    with open_folder(path) as folder:
        folder.append(make_row(sample_id="a"))
    whole = (path / "rows.jsonl").read_bytes()
    torn = json.dumps(make_row(sample_id="b").to_json()).encode()[:cut]
    (path / "rows.jsonl").write_bytes(whole + torn)
    assert [row.sample_id for row in read_rows(path)] == ["a"]
    with open_folder(path) as folder:
        folder.append(make_row(sample_id="c"))
    assert [row.sample_id for row in read_rows(path)] == ["a", "c"]


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.append(make_row())
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"half": \n' + path.read_bytes())
    with pytest.raises(StoreError, match="line 1, is not a row"):
        read_rows(tmp_path)


def test_every_start_is_noted_in_the_manifest(tmp_path: Path) -> None:
    for _ in range(2):
        with open_folder(tmp_path):
            pass
    assert read_manifest(tmp_path)["starts"] == [{"started": "now"}] * 2


def test_what_a_start_took_is_noted_at_its_end(tmp_path: Path) -> None:
    for flops in (1, 2):
        with open_folder(tmp_path) as folder:
            folder.record_end({"flops": flops})
    with open_folder(tmp_path):
        pass  # killed: it has no end
    manifest = read_manifest(tmp_path)
    assert manifest["ends"] == [{"flops": 1}, {"flops": 2}]
    assert len(manifest["starts"]) == 3


def test_what_was_spent_is_kept_beside_it(tmp_path: Path) -> None:
    for num_requests in (1, 2):
        with open_folder(tmp_path) as folder:
            folder.record_spent({"num_requests": num_requests})
    with open_folder(tmp_path) as folder:
        folder.record_end({"flops": 1})
    manifest = read_manifest(tmp_path)
    assert manifest["spent"] == [{"num_requests": 1}, {"num_requests": 2}]
    assert manifest["ends"] == [{"flops": 1}]


def test_a_folder_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.append(make_row())
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(StoreError, match=r"config\.trials: 3 -> 5; model\.weights: \"abc\" -> \"def\""):
        open_folder(tmp_path, config={**IDENTITY["config"], "trials": 5}, model={"weights": "def"})
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert read_rows(tmp_path) == [make_row()]


def test_part_of_an_identity_can_be_checked_early(tmp_path: Path) -> None:
    check_identity(tmp_path / "none", {"config": {}})
    with open_folder(tmp_path):
        pass
    check_identity(tmp_path, {"config": {"trials": 3, "lengths": [1024, 2048]}})
    with pytest.raises(StoreError, match=r"config\.trials"):
        check_identity(tmp_path, {"config": {"lengths": [1024, 2048]}})


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    with open_folder(tmp_path), pytest.raises(StoreError, match="in use"):
        open_folder(tmp_path)


def test_rows_without_a_manifest_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("x\n")
    with pytest.raises(StoreError, match="has rows but no manifest"):
        open_folder(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 99}', "{"])
def test_a_foreign_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(StoreError):
        read_manifest(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Cannot write to the out folder"):
        open_folder(tmp_path / "file" / "run")


def _fill_disk(path: Path, report: multiprocessing.Queue[Any]) -> None:
    """Append until the kernel refuses: files of this process may not grow past a limit."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    count = 0
    with open_folder(path) as folder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            while True:
                folder.append(make_row(sample_id=str(count)))
                count += 1
        except StoreError as error:
            report.put((count, str(error)))


def test_a_write_that_the_system_refuses_keeps_what_was_finished(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    report: multiprocessing.Queue[Any] = context.Queue()
    process = context.Process(target=_fill_disk, args=(tmp_path, report))
    process.start()
    count, message = report.get(timeout=60)
    process.join()
    assert "Rows already finished are safe" in message
    assert [row.sample_id for row in read_rows(tmp_path)] == [str(i) for i in range(count)]
    assert count > 3


def test_a_failed_atomic_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_has_a_score_exactly_when_it_is_ok() -> None:
    with pytest.raises(ValueError, match="status"):
        make_row(status="oom", score=0.0, error="x")
    with pytest.raises(ValueError, match="status"):
        make_row(score=None)
