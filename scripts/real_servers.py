"""Two real servers on loopback with the embedded model: transformers' and llama.cpp's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longctx.calibrate.served import transformers_server
from longctx.engine.sources import ModelSource, prepare

HERE = Path(__file__).parent


@contextmanager
def llama_cpp(source: ModelSource, window: int, num_threads: int = 1, port: int = 0, kv: str = "f16") -> Iterator[str]:
    """Base URL of llama.cpp's server with a model's GGUF file; it rounds `window` up to a multiple of 256 tokens.

    Port 0 is one that is free.
    """
    program = (sys.executable, str(HERE / "llama_cpp_server.py"), str(Path(source.path, str(source.gguf_file))))
    command = (*program, str(window), "--threads", str(num_threads), "--port", str(port), "--kv", kv)
    environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield f"{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.communicate()


@contextmanager
def transformers_serve(source: ModelSource, port: int | None = None) -> Iterator[str]:
    """Base URL of transformers' server, of which requests ask for the model by its own name."""
    with tempfile.TemporaryDirectory() as folder:
        # It knows models by their paths: here a path is a name.
        Path(folder, source.name).symlink_to(prepare(source).path)
        with transformers_server(Path(folder, "server.log"), "cpu", port, Path(folder)) as url:
            yield url
