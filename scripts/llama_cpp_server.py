"""llama.cpp's own server over a GGUF file, on a free port of loopback, until its standard input ends."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import xllamacpp

_KV = {"f16": xllamacpp.ggml_type.GGML_TYPE_F16, "f32": xllamacpp.ggml_type.GGML_TYPE_F32}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("num_tokens", type=int)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--port", type=int, default=0, show_default="a free one")
@click.option("--kv", type=click.Choice(list(_KV)), default="f16", show_default=True, help="Of keys and values.")
def main(file: Path, num_tokens: int, threads: int, port: int, kv: str) -> None:
    """Serve FILE with a context of NUM_TOKENS, and print the server's address."""
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.model_alias = {file.stem}
    params.n_ctx = num_tokens
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_type_k = params.cache_type_v = _KV[kv]
    params.warmup = False
    params.port = port
    params.verbosity = -1
    server = xllamacpp.Server(params)
    click.echo(server.listening_address)
    sys.stdin.read()


if __name__ == "__main__":
    main()
