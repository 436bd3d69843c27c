"""Two real servers on loopback: transformers' and llama.cpp's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


@contextmanager
def _running(num_threads: int, *command: str, folder: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """The server's process, in a working folder; killed at the end."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads), "HF_HUB_OFFLINE": "1"}
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True, env=environment, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def llama_cpp(file: Path, window: int, num_threads: int = 1, port: int = 0, kv: str = "f16") -> Iterator[str]:
    """Base URL of llama.cpp's server with a GGUF file; it rounds `window` up to a multiple of 256 tokens.

    Port 0 is one that is free.
    """
    program = (sys.executable, str(HERE / "llama_cpp_server.py"), str(file), str(window))
    options = ("--threads", str(num_threads), "--port", str(port), "--kv", kv)
    with _running(num_threads, *program, *options) as process:
        assert process.stdout is not None
        yield f"{process.stdout.readline().strip()}/v1"


@contextmanager
def transformers_serve(folder: Path, name: str = "", num_threads: int = 1, port: int = 0) -> Iterator[str]:
    """Base URL of transformers' server, in float32, with the model in `folder`; requests call it `name`, or that path.

    Port 0 is one that is free.
    """
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    program = (sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve")
    with tempfile.TemporaryDirectory() as names:  # it knows models by their paths: here a path is a name
        if name:
            Path(names, name).symlink_to(folder)
        with _running(num_threads, *program, name or str(folder), *options, folder=names) as process:
            while not _is_up(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, "transformers serve ended"
            yield f"http://127.0.0.1:{port}/v1"


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as response:
            return bool(response.status == 200)
    except OSError:
        return False
