"""Chunks, faults, waits, counts and the ledger, each by itself."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.backends.endpoint.config import EndpointConfig, read_key
from longctx.backends.endpoint.content import cut_at_stop
from longctx.backends.endpoint.counts import CountCheck
from longctx.backends.endpoint.faults import RequestFailed, redact, retry_after
from longctx.backends.endpoint.ledger import Ledger
from longctx.backends.endpoint.protocol import Reply, ReplyReader, TokenLogprob
from longctx.errors import ConfigError, SpentError
from longctx.scoring import NEVER_STOP, NUMBER_STOP
from longctx.sweep.endpoint import stated_window


def read(*chunks: dict[str, Any]) -> Reply:
    reader = ReplyReader()
    for at, chunk in enumerate(chunks):
        reader.add(chunk, float(at))
    return reader.reply()


def chat(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def test_a_chat_reply_with_reasoning_usage_and_times() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    reply = read(
        chat(role="assistant"),
        chat(reasoning_content="Hm"),
        chat(content=" 12"),
        chat(content="3."),
        chat("stop"),
        {"model": "m", "system_fingerprint": "fp", "choices": [], "usage": usage},
    )
    assert (reply.text, reply.reasoning, reply.fingerprint) == (" 123.", "Hm", "fp")
    assert (reply.first_token_at, reply.last_token_at) == (1.0, 3.0)
    assert reply.usage is not None
    assert (reply.usage.num_prompt_tokens, reply.usage.num_cached_tokens, reply.usage.num_reasoning_tokens) == (
        100,
        64,
        3,
    )


def test_a_completion_with_either_style_of_logprobs() -> None:
    top = [{"token": " a", "logprob": -0.5}, {"token": " b", "logprob": -1.5}]
    chat_style = {"content": [{"token": " a", "logprob": -0.5, "top_logprobs": top}]}
    old_style = {"tokens": [" a"], "token_logprobs": [-0.5], "top_logprobs": [{" a": -0.5, " b": -1.5}]}
    for found in (chat_style, old_style):
        reply = read({"choices": [{"text": " a", "logprobs": found, "finish_reason": "length"}]})
        (one,) = reply.logprobs
        assert (one.token, one.logprob, dict(one.top)) == (" a", -0.5, {" a": -0.5, " b": -1.5})


def test_thinking_inside_the_answer_is_taken_out() -> None:
    thought = [chat(content=piece) for piece in ("<thi", "nk>It is", " 7?</think>", " 12.")]
    assert read(*thought, chat("stop")).reasoning == "It is 7?"
    assert read(*thought, chat("stop")).text.strip() == "12."
    endless = read(*thought[:2], chat("length"))
    assert (endless.text, endless.reasoning) == ("", "It is")


@pytest.mark.parametrize(
    "chunk",
    [
        {"no": "choices"},
        {"choices": "none"},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [], "usage": {"prompt_tokens": "many"}},
        {"choices": [], "usage": {"prompt_tokens": -1}},
        [],
    ],
)
def test_what_is_not_the_protocol_is_malformed(chunk: Any) -> None:
    with pytest.raises(RequestFailed) as caught:
        ReplyReader().add(chunk, 0.0)
    assert caught.value.status == "malformed"


def test_a_stream_without_an_end_is_a_lost_connection() -> None:
    with pytest.raises(RequestFailed) as caught:
        read(chat(content="1"))
    assert caught.value.status == "disconnected"


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after({"retry-after": "7.5"}) == 7.5
    assert retry_after({"retry-after": "Thu, 01 Jan 2026 12:01:30 GMT"}, now) == 90.0
    assert retry_after({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, now) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_a_key_is_taken_out_of_what_a_server_says() -> None:
    assert redact("bad key sk-1\nin  sk-1", "sk-1") == "bad key [key] in [key]"
    assert len(redact("x" * 1000, "")) < 320


def test_keys_come_from_the_environment_alone() -> None:
    assert read_key("A_KEY", {"A_KEY": " sk-1 "}) == "sk-1"
    assert read_key("", {"OPENAI_API_KEY": "sk-1"}) == "none"
    with pytest.raises(ConfigError, match="A_KEY holds no key"):
        read_key("A_KEY", {"A_KEY": " "})


@pytest.mark.parametrize(
    ("counted", "status"),
    [(None, None), (111, None), (112, "miscounted"), (110, "truncated"), (0, "miscounted"), (222, "miscounted")],
)
def test_counts_are_exact_unless_told_otherwise(counted: int | None, status: str | None) -> None:
    fault = CountCheck(offset=11).fault(100, counted)
    assert (fault and fault[0]) == status


def test_a_tolerance_lets_another_tokenizer_pass_and_still_sees_a_cut() -> None:
    check = CountCheck(tolerance=0.1)
    assert [check.fault(1000, count) for count in (905, 1000, 1095)] == [None] * 3
    assert check.fault(1000, 500) is not None


@given(st.lists(st.text("0123 .x", max_size=3)), st.sampled_from([NUMBER_STOP, NEVER_STOP]))
def test_an_answer_ends_with_the_first_piece_that_completes_it(pieces: list[str], stop: str) -> None:
    import re

    said = cut_at_stop(pieces, stop)
    ends = [i for i in range(len(pieces)) if re.search(stop, "".join(pieces[: i + 1]))]
    assert said == "".join(pieces[: ends[0] + 1] if ends else pieces)


def test_the_ledger_holds_with_many_threads() -> None:
    """32 threads, each taking what it can get of 1,000 prompt tokens in requests of 7."""
    ledger = Ledger(EndpointConfig(max_prompt_tokens=1000, price_in=1.0, max_cost=1.0))
    sent: list[int] = []

    def work() -> None:
        while True:
            try:
                ticket = ledger.reserve(7, 3)
            except SpentError:
                return
            sent.append(7)
            ledger.settle(ticket, 7, 1)

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.spent.num_prompt_tokens == sum(sent) <= 1000
    assert ledger.spent.num_requests == len(sent)
    with pytest.raises(SpentError, match="1,000 prompt tokens"):
        ledger.reserve(7, 3)


def test_what_is_in_flight_counts_as_spent() -> None:
    ledger = Ledger(EndpointConfig(price_in=1e6, price_out=1e6, max_cost=20.0))
    first = ledger.reserve(8, 2)
    ledger.reserve(8, 2)
    with pytest.raises(SpentError, match="cost"):
        ledger.reserve(1, 0)
    ledger.settle(first, 8, 0)  # it was answered with nothing
    ledger.settle_in_full(ledger.reserve(1, 1))
    assert ledger.cost() == 10.0


def test_timeouts_grow_with_the_prompt() -> None:
    config = EndpointConfig(timeout_seconds=10.0, timeout_seconds_per_1k=2.0)
    assert (config.timeout(0), config.timeout(10240)) == (10.0, 30.0)


@pytest.mark.parametrize("changes", [{"max_attempts": 0}, {"price_in": -1.0}, {"timeout_seconds": float("inf")}])
def test_illegal_settings_are_named(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        EndpointConfig(**changes)  # type: ignore[arg-type]


def test_servers_state_windows_in_their_own_ways() -> None:
    assert stated_window("m", [{"id": "m", "max_model_len": 32768}]) == 32768
    assert stated_window("m", [{"id": "other"}, {"id": "m", "context_length": 131072}]) == 131072
    assert stated_window("m", [{"id": "/a/b.gguf", "meta": {"n_ctx": 8192}}]) == 8192
    assert stated_window("m", [{"id": "a", "max_model_len": 1}, {"id": "b"}]) is None
    assert stated_window("m", []) is None


def test_what_cannot_be_said_has_no_log_probability() -> None:
    """Servers that mask tokens list some at minus infinity; one that was said cannot be there."""
    masked = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": float("-inf")}]}
    reader = ReplyReader()
    reader.add({"choices": [{"text": "a", "finish_reason": "stop", "logprobs": masked}]}, 0.1)
    assert reader.reply().logprobs == (TokenLogprob("a", -0.5, {"a": -0.5}),)
    for said in (float("-inf"), float("nan")):
        with pytest.raises(RequestFailed, match="log-probability"):
            reader.add({"choices": [{"text": "a", "logprobs": {**masked, "token_logprobs": [said]}}]}, 0.2)
