"""A thousand requests to a server of which 30 % fail: every row is there once, and says what happened."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_server import CUTS, Server, serving

from longctx.backends.endpoint.backend import EndpointBackend
from longctx.backends.endpoint.client import Outcome
from longctx.backends.endpoint.config import EndpointConfig
from longctx.backends.endpoint.connect import connect, greet, make_backend
from longctx.backends.endpoint.protocol import Request
from longctx.config import SweepConfig
from longctx.documents.build import Grid, build_controls
from longctx.documents.frame import Frame
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import ModelError, SpentError
from longctx.records import Row, Sample
from longctx.store import RunFolder, read_rows
from longctx.sweep.run import missing, run_samples
from longctx.tasks import parse_task
from longctx.tasks.base import NeedleTask

STATUSES = {
    "rate_limited": "rate_limited",
    "server_error": "server_error",
    "hang": "timeout",
    "reset": "disconnected",
    "malformed": "malformed",
    "wrong_usage": "miscounted",
    "doubled_bos": "miscounted",
    "empty": "empty",
    "thinking": "empty_thinking",
    "refusal": "refused",
    "filter": "refused",
    "too_long": "too_long",
    **dict.fromkeys(CUTS, "truncated"),
}
PASSING = ("rate_limited", "server_error", "reset", "malformed")
ATTEMPTS = 3


def make_config(api: str = "completions", template: str = "chat", **changes: object) -> SweepConfig:
    values = {"backend": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "served", "lengths": (512,)}
    return SweepConfig(**values | {"api": api, "template": template} | changes)  # type: ignore[arg-type]


def make_samples(tokenizer: HubTokenizer, template: str, trials: int) -> list[Sample]:
    """Two samples a trial: a question alone, and after the fact that it asks for."""
    task = parse_task("niah_single")
    assert isinstance(task, NeedleTask)
    kind = choose_template(template, task.instruction, tokenizer)
    frame = Frame(task.spec(), "isolated", 0, tokenizer, kind, task.max_new_tokens, task.stop)
    return build_controls(frame, Grid((512,), (0.5,)), trials, task.item)


def counter(tokenizer: HubTokenizer, api: str) -> Server:
    """A server that counts with the same tokenizer."""
    if api == "chat":
        return Server(lambda text: len(tokenizer.encode(tokenizer.render_chat(text)).token_ids))
    return Server(lambda text: len(tokenizer.encode(text).token_ids))


class Waits:
    """Notes what would have been waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def make(
    server: Server, config: SweepConfig, tokenizer: HubTokenizer, waits: Waits, **settings: object
) -> EndpointBackend:
    values = {"max_attempts": ATTEMPTS, "concurrency": 16, "timeout_seconds": 20.0}
    chosen = EndpointConfig(**values | settings)  # type: ignore[arg-type]
    config = SweepConfig(**config.to_json() | {"base_url": server.base_url})
    client = connect(config, chosen, sleep=waits)
    return make_backend(client, config, tokenizer, 4096, greet(client, config, tokenizer), chosen.concurrency)


def run(backend: EndpointBackend, samples: list[Sample], config: SweepConfig, path: Path) -> list[Row]:
    with backend, RunFolder(path, {"model": dict(backend.fingerprint)}, {}) as folder:
        run_samples(
            missing(samples, read_rows(path)), config, 4096, backend, folder, lambda row: None, lambda tokens: None
        )
    return read_rows(path)


@pytest.fixture(scope="module")
def samples(tokenizer: HubTokenizer) -> dict[str, list[Sample]]:
    return {"completions": make_samples(tokenizer, "chat", 500), "chat": make_samples(tokenizer, "message", 4)}


def test_a_thousand_requests_under_faults_lose_nothing(
    tokenizer: HubTokenizer, samples: dict[str, list[Sample]], tmp_path: Path
) -> None:
    asked = samples["completions"]
    assert len(asked) == 1000
    rng = random.Random(0)
    times_asked = Counter(sample.prompt.text() for sample in asked)  # some keys are drawn twice
    faulty = rng.sample([sample for sample in asked if times_asked[sample.prompt.text()] == 1], 300)
    kinds = [kind for kind in STATUSES if kind != "hang"]
    planned = {sample.prompt.text(): (rng.choice(kinds), rng.choice((1, 2, 99))) for sample in faulty}
    server = counter(tokenizer, "completions")

    def fault(text: str, attempt: int) -> str:
        kind, times = planned.get(text, ("", 0))
        return kind if attempt <= times or kind not in PASSING else ""

    server.fault = fault
    config, waits = make_config(), Waits()
    with serving(server):
        backend = make(server, config, tokenizer, waits)
        rows = {row.sample_id: row for row in run(backend, asked, config, tmp_path)}
    assert set(rows) == {sample.id for sample in asked}
    assert (tmp_path / "rows.jsonl").read_bytes().count(b"\n") == 1000
    for sample in asked:
        row = rows[sample.id]
        kind, times = planned.get(sample.prompt.text(), ("", 0))
        passes = kind in PASSING and times < ATTEMPTS
        assert row.status == ("ok" if not kind or passes else STATUSES[kind]), (kind, times, row)
        assert row.num_attempts == (min(times + 1, ATTEMPTS) if kind in PASSING else 1)
        if row.status == "ok":
            assert row.score == (1.0 if sample.control == "short" else 0.0)
            assert row.answer.startswith(f" {sample.targets[0]}" if row.score else " unknown")
            assert row.server_prompt_tokens == row.num_prompt_tokens
            assert (row.server_model, row.server_fingerprint) == ("served-v1", "fp-7")
            assert row.ttft_seconds is not None
        else:
            assert row.error
    assert set(STATUSES.values()) - {"timeout"} <= {row.status for row in rows.values()}
    assert waits.seconds.count(7.0) == sum(
        min(times, ATTEMPTS - 1) for kind, times in planned.values() if kind == "rate_limited"
    )
    assert len(server.seen) - 2 == sum(row.num_attempts for row in rows.values())


def test_a_server_that_falls_silent_is_a_timeout(
    tokenizer: HubTokenizer, samples: dict[str, list[Sample]], tmp_path: Path
) -> None:
    asked = samples["completions"][:3]
    server = counter(tokenizer, "completions")
    silent = asked[1].prompt.text()
    server.fault = lambda text, attempt: "hang" if text == silent else ""
    config = make_config()
    with serving(server):
        backend = make(
            server, config, tokenizer, Waits(), timeout_seconds=1.5, timeout_seconds_per_1k=0.0, max_attempts=1
        )
        rows = {row.sample_id: row.status for row in run(backend, asked, config, tmp_path)}
    assert rows == {asked[0].id: "ok", asked[1].id: "timeout", asked[2].id: "ok"}


def test_what_failed_is_asked_again_and_nothing_else(
    tokenizer: HubTokenizer, samples: dict[str, list[Sample]], tmp_path: Path
) -> None:
    asked = samples["chat"]
    server = counter(tokenizer, "chat")
    config = make_config("chat", "message")
    with serving(server):
        server.fault = lambda text, attempt: "empty" if "Text: none" in text else ""
        first = run(make(server, config, tokenizer, Waits()), asked, config, tmp_path)
        server.fault = lambda text, attempt: ""
        before = len(server.seen)
        second = run(make(server, config, tokenizer, Waits()), asked, config, tmp_path)
    assert Counter(row.status for row in first) == {"ok": 4, "empty": 4}
    assert {row.status for row in second} == {"ok"}
    assert len(server.seen) - before == 2 + 4


@pytest.fixture
def plain_server(tokenizer: HubTokenizer) -> Iterator[Server]:
    with serving(counter(tokenizer, "completions")) as server:
        yield server


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({"max_requests": 12}, 10),
        ({"max_prompt_tokens": 900}, None),
        ({"max_cost": 0.001, "price_in": 1.0, "price_out": 2.0}, None),
    ],
)
def test_a_budget_is_never_exceeded_and_says_what_is_left(
    plain_server: Server,
    tokenizer: HubTokenizer,
    samples: dict[str, list[Sample]],
    tmp_path: Path,
    limits: dict[str, float],
    allowed: int | None,
) -> None:
    asked = samples["completions"][:40]
    config = make_config()
    backend = make(plain_server, config, tokenizer, Waits(), concurrency=4, **limits)
    with pytest.raises(SpentError, match=r"does not reach .* of 40 prompts are left"):
        run(backend, asked, config, tmp_path)
    rows = read_rows(tmp_path)
    assert 0 < len(rows) < 40
    assert {row.status for row in rows} == {"ok"}
    assert len(rows) == (allowed or len(rows))
    spent = backend._client.ledger.spent
    assert len(plain_server.seen) == spent.num_requests <= limits.get("max_requests", 1e9)
    assert spent.num_prompt_tokens <= limits.get("max_prompt_tokens", 1e9)
    assert backend._client.ledger.cost() <= limits.get("max_cost", 0.0)
    more = make(plain_server, config, tokenizer, Waits())
    assert len(run(more, asked, config, tmp_path)) == 40


def test_a_wrong_key_stops_the_run_at_once(
    plain_server: Server, tokenizer: HubTokenizer, samples: dict[str, list[Sample]], tmp_path: Path
) -> None:
    config = make_config()
    backend = make(plain_server, config, tokenizer, Waits(), concurrency=2)
    plain_server.fault = lambda text, attempt: "wrong_key"
    with pytest.raises(ModelError, match="HTTP 401"):
        run(backend, samples["completions"], config, tmp_path)
    assert len(plain_server.seen) <= 2 + 2 * 2
    assert read_rows(tmp_path) == []


def test_a_server_with_another_tokenizer_is_refused(tokenizer: HubTokenizer) -> None:
    server = Server(lambda text: len(text.split()))
    with serving(server), pytest.raises(ModelError, match="it has another tokenizer"):
        make(server, make_config(), tokenizer, Waits())


def test_a_doubled_bos_is_named_before_anything_is_measured(tokenizer: HubTokenizer) -> None:
    server = Server(lambda text: len(tokenizer.encode(text).token_ids) + 1)
    with serving(server), pytest.raises(ModelError, match="doubled BOS"):
        make(server, make_config(), tokenizer, Waits())


def test_what_a_chat_template_adds_is_learnt(tokenizer: HubTokenizer, tmp_path: Path) -> None:
    """A server with a system prompt of its own: 11 tokens more on every prompt."""
    count = counter(tokenizer, "chat").count
    server = Server(lambda text: count(text) + 11)
    config = make_config("chat", "message")
    asked = make_samples(tokenizer, "message", 2)
    with serving(server):
        backend = make(server, config, tokenizer, Waits())
        rows = run(backend, asked, config, tmp_path)
    assert backend.fingerprint["offset_tokens"] == 11
    assert {row.status for row in rows} == {"ok"}
    assert [row.server_prompt_tokens for row in rows] == [row.num_prompt_tokens + 11 for row in rows]


def test_an_unreachable_server_is_an_error_with_a_reason(tokenizer: HubTokenizer) -> None:
    with serving(Server(len)) as server:
        pass  # now nothing listens there
    with pytest.raises(ModelError, match="no answer to a short prompt: disconnected"):
        make(server, make_config(), tokenizer, Waits())


def test_a_server_that_takes_neither_max_tokens_nor_a_temperature(tokenizer: HubTokenizer, tmp_path: Path) -> None:
    server = counter(tokenizer, "chat")
    server.fault = lambda text, attempt: "newer"
    with serving(server):
        backend = make(server, make_config("chat", "message"), tokenizer, Waits())
        rows = run(backend, make_samples(tokenizer, "message", 2), make_config("chat", "message"), tmp_path)
    assert {row.status for row in rows} == {"ok"}
    assert "max_completion_tokens" in server.seen[-1]
    assert not {"max_tokens", "temperature"} & server.seen[-1].keys()
    assert "takes none" in str(backend.fingerprint["temperature"])  # an answer at another temperature is another run


@pytest.mark.parametrize("fault", ["rate_limited", "hang"])
def test_a_closed_client_waits_for_nobody(tokenizer: HubTokenizer, fault: str) -> None:
    """A thread ends with its client, whether it waits for an hour, as it was asked to, or for an answer."""
    server = counter(tokenizer, "completions")
    with serving(server):
        config = SweepConfig(**make_config().to_json() | {"base_url": server.base_url})
        client = connect(config, EndpointConfig(max_wait_seconds=3600.0, timeout_seconds=3600.0))
        server.fault = lambda text, attempt: fault
        outcomes: list[Outcome] = []
        request = Request("Say yes.", 3, 4)
        thread = threading.Thread(target=lambda: outcomes.append(client.ask(request)))
        thread.start()
        while not server.seen:
            pass
        client.close()
        thread.join()
    assert outcomes[0].failure is not None
    assert outcomes[0].num_attempts <= 2
