"""Prompts without a model: samples as lines of JSON, for any other runner."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from longctx.documents.tokenizer import Tokenizer
from longctx.errors import StoreError
from longctx.records import Sample


def find_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a tiktoken encoding or of a model; raises ConfigError or ModelError."""
    from longctx.documents.named_tokenizers import load_tiktoken, tiktoken_names

    if name in tiktoken_names():
        return load_tiktoken(name)
    from longctx.engine.loading import read_tokenizer
    from longctx.engine.sources import find_source, prepare

    return read_tokenizer(prepare(find_source(name)))


def find_tokenizer_alone(name: str) -> Tokenizer:
    """The same in a process that loads no model: torch stays out of it, but where a .gguf file becomes a folder."""
    from longctx.documents.named_tokenizers import tiktoken_names
    from longctx.engine.sources import find_source, prepare, without_torch

    if name not in tiktoken_names():
        prepare(find_source(name))  # once, with torch
    with without_torch():
        return find_tokenizer(name)


def describe(sample: Sample, ids: bool) -> dict[str, Any]:
    """One sample as it stands in the file: its prompt as text, or as token ids."""
    cell, prompt = sample.cell, sample.prompt
    record: dict[str, Any] = {
        "id": sample.id,
        "task": cell.task,
        "length": cell.length,
        "depth": cell.depth,
        "trial": cell.trial,
        "control": sample.control,
        "kind": sample.question.kind,
        "hops": sample.question.hops,
        "candidates": sample.question.candidates,
        "targets": sample.targets,
        "num_prompt_tokens": prompt.num_tokens,
        "max_new_tokens": prompt.max_new_tokens,
        "stop": prompt.stop,
        "support_positions": sample.support_positions,
        "needle_depth": round(sample.needle_depth, 6),
        "document": prompt.document.id,
        "repeated_share": round(prompt.document.repeated_share, 6),
    }
    return record | ({"token_ids": prompt.token_ids().tolist()} if ids else {"prompt": prompt.text()})


def write_prompts(samples: Iterable[Sample], out: Path, ids: bool) -> None:
    """Write all samples into `out`, whole or not at all; raises StoreError where it cannot be written."""
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            for sample in samples:
                json.dump(describe(sample, ids), file, ensure_ascii=False)
                file.write("\n")
        os.replace(unfinished, out)
    except OSError as error:
        raise StoreError(f"Cannot write the prompts to {out}: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # nothing to take away where nothing could be written
            unfinished.unlink()
