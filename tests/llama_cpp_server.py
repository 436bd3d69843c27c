"""llama.cpp's own server over a GGUF file, until its standard input ends: llama_cpp_server.py FILE TOKENS."""

from __future__ import annotations

import sys
from pathlib import Path

import xllamacpp


def main(file: str, num_tokens: int) -> None:
    """Serve on a free port of loopback, and print its base URL."""
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.model_alias = {Path(file).stem}
    params.n_ctx = num_tokens
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.port = 0
    params.verbosity = -1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
