"""Two servers to compare, and what they say: models made of a hash."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result
from faulty_server import Server, answer_from, serving
from test_endpoint_faults import counter

from longctx.cli import main
from longctx.documents.tokenizer import HubTokenizer

GREETINGS = 3
"""Two to learn what a server counts, one to learn whether it gives log-probabilities."""
REQUESTS = 4
"""For a probe with two samples."""
WORDS = ["the", "harbour", "held", "a", "lamp", "and", "nobody", "came", "down", "to", "see", "it", "before", "noon"]


def model_like(name: str, reads: Callable[[str], bool] = lambda text: True) -> Callable[[str], str]:
    """A model made of a hash: its texts depend on its name and the prompt, greedy ones on nothing else."""

    def answer(text: str) -> str:
        if "own that could come next" not in text:
            return answer_from(text) if reads(text) else " unknown."
        rng = random.Random(hashlib.sha256(f"{name if reads(text) else 'other'}{text}".encode()).digest())
        return " " + " ".join(rng.choice(WORDS) for _ in range(8))

    return answer


@contextmanager
def two_servers(tokenizer: HubTokenizer) -> Iterator[tuple[Server, Server]]:
    """Both serve the same model."""
    with serving(counter(tokenizer, "completions")) as a, serving(counter(tokenizer, "completions")) as b:
        a.answer, b.answer = model_like("one"), model_like("one")
        yield a, b


def arguments(servers: tuple[Server, Server], model_folder: Path, out: Path, *more: str) -> list[str]:
    """Of a comparison of 12 probes."""
    a, b = (f"{server.base_url}#served" for server in servers)
    grid = ["--lengths", "300", "--items", "12", "--samples", "2", "--tokenizer", str(model_folder)]
    return ["compare", a, b, "--out", str(out), "--retries", "0", *grid, *more]


def compare(servers: tuple[Server, Server], model_folder: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(main, arguments(servers, model_folder, out, *more))


def findings(out: Path) -> dict[tuple[str, int], float]:
    comparison = json.loads((out / "compare.json").read_text())["comparison"]
    return {(f["test"], f["length"]): f["p_corrected"] for f in comparison["findings"]}
