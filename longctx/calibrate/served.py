"""Phantoms behind a server: one of transformers, started here, or any that loads the model folder a request names."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from longctx.backends.base import Backend
from longctx.backends.endpoint.config import EndpointConfig
from longctx.backends.endpoint.connect import connect, greet, make_backend
from longctx.calibrate.run import OpenBackend
from longctx.config import KvBudget, SweepConfig
from longctx.engine.loading import ModelCard
from longctx.errors import ConfigError, ModelError

OWN_SERVER = "http://127.0.0.1/v1"
"""What stands in a run's config for a server that is started here: its port is another one every time."""

_NEEDED = ("fastapi", "uvicorn", "pydantic", "openai")
_PROGRAM = """
import os, sys, threading
# The pipe to it breaks with the process that started it, however that ends.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
from transformers.cli.transformers import main
main()
"""
_START_SECONDS = 180.0
_POLL_SECONDS = 0.2
_STOP_SECONDS = 10.0
_BLOCK_TOKENS = 256
_BATCH_TOKENS = 1024
"""Read at a time; it makes a mask of so many tokens x all that it keeps."""
_MIN_KEPT_TOKENS = 2**16
# A server that shares its cores with others is slow, not broken.
_SETTINGS = EndpointConfig(concurrency=1, timeout_seconds=600.0, timeout_seconds_per_1k=60.0)


@contextlib.contextmanager
def transformers_server(
    log: Path, device: str = "auto", port: int | None = None, folder: Path | None = None, kept_tokens: int = 0
) -> Iterator[str]:
    """The base URL of `transformers serve` on loopback, in float32, until the block ends; it writes into `log`.

    Without a `port` on one that is free; in the working folder `folder`, where requests may name models by their paths.
    With `kept_tokens` it has a paged cache for so many, and reads once what prompts begin with alike.
    Raises ConfigError where packages that it needs are missing, ModelError if it does not start.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"transformers' server needs {', '.join(missing)}: pip install 'transformers[serving]', "
            "or name a server that runs with --base-url."
        )
    port = _free_port() if port is None else port
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", device, "--dtype", "float32"]
    if kept_tokens:
        blocks = -(-kept_tokens // _BLOCK_TOKENS)
        options += ["--continuous-batching", "--cb-block-size", str(_BLOCK_TOKENS), "--cb-num-blocks", str(blocks)]
        # It unloads a model that has long been idle, even while that reads a long prompt.
        options += ["--cb-max-batch-tokens", str(_BATCH_TOKENS), "--model-timeout", "-1"]
    # Whatever it is asked for is on this disk: it must look nowhere else.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _PROGRAM, "serve", *options]
    pipe, merged = subprocess.PIPE, subprocess.STDOUT
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdin=pipe, stdout=output, stderr=merged, env=environment, cwd=folder) as process,
    ):
        try:
            _wait_until_up(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import requests

    last = time.monotonic() + _START_SECONDS
    with requests.Session() as session:
        session.trust_env = False  # no proxy to loopback
        while time.monotonic() < last and process.poll() is None:
            with contextlib.suppress(requests.ConnectionError, requests.Timeout):
                if session.get(url, timeout=1.0).ok:
                    return
            time.sleep(_POLL_SECONDS)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise ModelError(f"transformers' server did not start: {said[-1] if said else 'it said nothing'} (see {log}).")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def asking(url: str, from_here: bool = False) -> OpenBackend:
    """What makes a backend of the server at `url` for a phantom, whose folder is the model that it is asked for.

    `from_here` says that the server runs in this process's working folder, so that a relative path means the same.
    """

    def open_backend(card: ModelCard, config: SweepConfig, budget: KvBudget) -> AbstractContextManager[Backend]:
        folder = card.source.path if from_here else str(Path(card.source.path).resolve())
        asked = dataclasses.replace(config, model=folder, base_url=url)
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(connect(asked, _SETTINGS))
            greeting = greet(client, asked, card.tokenizer)
            told = dataclasses.replace(config, model=card.source.name)
            backend = make_backend(client, told, card.tokenizer, card.window, greeting, _SETTINGS.concurrency)
            stack.pop_all()  # the backend closes the client
        return backend

    return open_backend


@contextlib.contextmanager
def serving(log: Path, device: str, longest: int) -> Iterator[OpenBackend]:
    """The same for a server of transformers, which ends with the block; raises what `transformers_server` does.

    It keeps what prompts begin with alike, twice the `longest` in tokens or more.
    """
    with transformers_server(log, device, kept_tokens=max(_MIN_KEPT_TOKENS, 2 * longest)) as url:
        yield asking(url, from_here=True)
