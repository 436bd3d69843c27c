"""Prompts of one's own, from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from longctx.config import SweepConfig
from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import BudgetError, ConfigError, UnknownNameError
from longctx.records import Sample
from longctx.samples import make_samples, resolve_grid
from longctx.tasks import parse_task
from longctx.tasks.prompt_file import PromptFile

LINE = {"prompt": "The code is 4417. What is the code?", "targets": ["4417"], "length": "1k", "depth": 0.5}


def write(path: Path, *lines: dict[str, Any] | str) -> str:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return f"file:{path}"


def samples(spec: str, tokenizer: HubTokenizer, **changes: Any) -> list[Sample]:
    return make_samples(resolve_grid(SweepConfig(task=(spec,), **changes)), tokenizer)


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_prompts_are_asked_as_they_are(tmp_path: Path, hub_tokenizers: dict[str, Any], template: str) -> None:
    hub = hub_tokenizers["metaspace"]
    spec = write(tmp_path / "a:b.jsonl", LINE, {**LINE, "length": 512, "answer_prefix": "The code is"}, LINE)
    config = resolve_grid(SweepConfig(task=(spec,)))
    assert (config.lengths, config.depths, config.trials, config.controls) == ((512, 1024), (0.5,), 2, False)
    found = samples(spec, HubTokenizer(hub), template=template)
    assert [(s.cell.length, s.cell.trial, s.targets) for s in found] == [
        (1024, 0, ("4417",)),
        (512, 0, ("4417",)),
        (1024, 1, ("4417",)),
    ]
    assert len({s.id for s in found}) == 3
    user = {"role": "user", "content": LINE["prompt"]}
    rendered = hub.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    wanted = rendered if template == "chat" else f"<bos>{LINE['prompt']}"
    assert hub.decode(found[0].prompt.token_ids()) == wanted
    assert hub.decode(found[1].prompt.token_ids()).endswith("The code is")
    assert found[0].prompt.text() == wanted.removeprefix("<bos>" if template == "plain" else "")


def test_drafts_follow_where_the_tokenizer_has_a_border(tmp_path: Path, tokenizer: HubTokenizer) -> None:
    (sample,) = samples(write(tmp_path / "p.jsonl", {**LINE, "answer_prefix": "The code is"}), tokenizer)
    ids = [*sample.prompt.token_ids().tolist(), *sample.draft_ids.tolist()]
    assert tokenizer.decode(ids).endswith("The code is 4417")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is not a JSON object"),
        ({**LINE, "target": "x"}, "Did you mean targets"),
        ({"prompt": "a", "depth": 0.5}, "line 2 lacks targets, length"),
        ({**LINE, "length": "10Z"}, "'10Z' is not a length"),
        ({**LINE, "depth": 2}, "depth 0 to 1"),
        ({**LINE, "targets": []}, "a list of texts"),
        ({**LINE, "targets": "4417"}, "a list of texts"),
        ({**LINE, "max_new_tokens": 0}, "above 0"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, line: Any, message: str) -> None:
    task = parse_task(write(tmp_path / "p.jsonl", LINE, line))
    assert isinstance(task, PromptFile)
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        task.given()


def test_files_without_prompts_are_refused(tmp_path: Path, tokenizer: HubTokenizer) -> None:
    with pytest.raises(ConfigError, match="Cannot read the prompts"):
        samples(f"file:{tmp_path}/none.jsonl", tokenizer)
    with pytest.raises(ConfigError, match="holds no prompts"):
        samples(write(tmp_path / "empty.jsonl", "", " "), tokenizer)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="Cannot read the prompts"):
        samples(f"file:{tmp_path}/binary", tokenizer)


def test_a_prompt_over_its_length_is_refused(tmp_path: Path, tokenizer: HubTokenizer) -> None:
    spec = write(tmp_path / "p.jsonl", {**LINE, "length": 70})
    with pytest.raises(BudgetError, match="more than its 70"):
        samples(spec, tokenizer)


@pytest.mark.parametrize("change", [{"lengths": (512,)}, {"design": "packed"}])
def test_a_file_is_a_sweep_by_itself(tmp_path: Path, tokenizer: HubTokenizer, change: dict[str, Any]) -> None:
    spec = write(tmp_path / "p.jsonl", LINE)
    with pytest.raises(ConfigError, match="brings its own lengths"):
        samples(spec, tokenizer, **change)


def test_the_scorer_wants_whole_words() -> None:
    task = parse_task("file:x")
    assert task.score("It is 4417.", ("4417",)).value == 1.0
    assert task.score("It is 44170.", ("4417",)).value == 0.0
    assert task.score(" 4417.", ("4417",)).strict == 1.0
    assert task.score("It is 4417.", ("4417",)).strict == 0.0
    assert task.score("", ("4417",)).value == 0.0
