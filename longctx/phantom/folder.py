"""A phantom as people have models: a folder with config, safetensors and tokenizer, and what it is designed to do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from longctx.engine.loading import read_tokenizer
from longctx.engine.sources import find_source, if_converted, quiet_transformers
from longctx.errors import ConfigError, StoreError
from longctx.files import write_atomically
from longctx.phantom import words
from longctx.phantom.design import FILE, Design
from longctx.phantom.model import build_model
from longctx.phantom.tokens import digit_tokens, find_tokens, mute, put_bos_first


def load_hub_tokenizer(name: str) -> Any:
    """A transformers tokenizer that puts BOS first: our own called `words`, or that of a model."""
    if name == words.NAME:
        return words.make_tokenizer()
    hub = read_tokenizer(if_converted(find_source(name))).hub
    put_bos_first(hub)
    return hub


def write_phantom(design: Design, folder: Path, tokenizer: str = words.NAME) -> Design:
    """Write a model folder that any runner loads; returns the design with all that could only be muted together.

    Raises ConfigError for what cannot be built or a folder that is not empty, StoreError where it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; choose another --out.")
    hub = load_hub_tokenizer(tokenizer)
    tokens = find_tokens(hub)
    design = dataclasses.replace(design, muted=mute(tokens, design.muted))
    misread = digit_tokens(hub, *design.misread) if design.misread else {}
    model = build_model(design, tokens, misread)
    try:
        with quiet_transformers():
            folder.mkdir(parents=True, exist_ok=True)
            model.save_pretrained(folder)
            hub.save_pretrained(folder)
        write_atomically(folder / FILE, json.dumps(design.to_json(), indent=2).encode() + b"\n")
    except OSError as error:
        raise StoreError(f"Cannot write the phantom to {folder}: {error}") from error
    return design
