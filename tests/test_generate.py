"""Prompts as lines of JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longctx.cli import main
from longctx.documents.named_tokenizers import load_tiktoken

GRID = ["--lengths", "1k,2k", "--depths", "2", "--trials", "1", "--tokenizer", "cl100k_base"]


def generate(out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["generate", "--out", str(out), *GRID, *arguments])


def test_text_and_ids_are_the_same_prompts(tmp_path: Path) -> None:
    assert generate(tmp_path / "text.jsonl", "--task", "niah_single,vt").exit_code == 0
    assert generate(tmp_path / "ids.jsonl", "--task", "niah_single,vt", "--ids").exit_code == 0
    files = (tmp_path / "text.jsonl", tmp_path / "ids.jsonl")
    texts, ids = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert len(texts) == 2 * (4 + 4)  # cells and controls
    tokenizer = load_tiktoken("cl100k_base")
    for text, other in zip(texts, ids, strict=True):
        assert text["id"] == other["id"]
        assert tokenizer.encode(text["prompt"]).token_ids.tolist() == other["token_ids"]
        assert len(other["token_ids"]) == text["num_prompt_tokens"]
        if text["control"] is None:
            assert text["num_prompt_tokens"] + text["max_new_tokens"] == text["length"]
            assert all(target in text["prompt"] for target in text["targets"])
    assert sorted(tmp_path.iterdir()) == sorted(files)  # nothing unfinished is left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "10Z"], "'10Z' is not a length"),
        (["--task", "nope"], "Unknown task 'nope'"),
        (["--haystack", "files:/no/such/folder"], "/no/such/folder"),
        (["--design", "packed", "--task", "fiction"], "isolated, it costs no more"),
        (["--template", "chat"], "no chat template"),
    ],
)
def test_wrong_input_writes_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = generate(tmp_path / "out.jsonl", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = generate(tmp_path / "file" / "out.jsonl")
    assert result.exit_code == 2
    assert "Cannot write the prompts" in result.output


def test_tasks_are_listed_with_what_they_measure() -> None:
    result = CliRunner().invoke(main, ["tasks"])
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.splitlines() if not line.startswith(" ")]
    assert len(listed) >= 20
    assert {"niah_single_1", "vt", "cwe", "fwe", "qa_2", "fiction", "file"} <= set(listed)
