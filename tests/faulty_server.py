"""A server on loopback that speaks OpenAI's protocol, answers from the text that it gets, and fails as told."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUESTIONS = (
    (r"What is the special number for (.+?) that the text states\?", r"The special number for {} is (\d+)\."),
    (r"What is the code(?: that the text states)?\?()", r"The code is (\d+)\."),
)
CUTS = ("cut_start", "cut_middle", "cut_end")
VERSIONS = (
    {"model": "served-v1", "system_fingerprint": "fp-7"},
    {"model": "served-v2", "system_fingerprint": "fp-8"},
)


def answer_from(text: str) -> str:
    """What a model without flaws says: the number that the last question in `text` asks for, if it stands there."""
    for question, fact in QUESTIONS:
        asked = re.findall(question, text)
        if asked:
            found = re.search(fact.format(re.escape(asked[-1])), text)
            return f" {found[1]}." if found else " unknown."
    return " Yes."


def cut(text: str, place: str) -> str:
    """`text` without a third of it."""
    third = len(text) // 3
    kept = {
        "cut_start": text[third:],
        "cut_middle": text[:third] + text[2 * third :],
        "cut_end": text[: 2 * third],
    }
    return kept[place]


@dataclass
class Server:
    """How it behaves, and what it saw. Set `fault` to a function of the prompt's text and the attempt, from 1."""

    count: Callable[[str], int]
    """Tokens of a prompt's text, as the server counts them."""
    fault: Callable[[str, int], str] = lambda text, attempt: ""
    answer: Callable[[str], str] = answer_from
    window: int = 10**9
    rejects_logprobs: bool = False
    switches_above: int = 10**9
    """Tokens of a prompt beyond which another version answers, and says so."""
    lies: bool = False
    """Whether the usage speaks of the whole prompt where it was cut."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    base_url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    _attempts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[str, int]:
        """The text of a request's prompt, and how often it has come by now."""
        text = str(body["prompt"]) if "prompt" in body else str(body["messages"][-1]["content"])
        with self._lock:
            self.seen.append(body)
            self.headers.append(headers)
            self._attempts[text] += 1
            return text, self._attempts[text]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Server
    version = VERSIONS[False]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._json(200, {"object": "list", "data": [{"id": "served", "object": "model", "max_model_len": 4096}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text, attempt = self.behaviour.note(body, {name.lower(): value for name, value in self.headers.items()})
        fault = self.behaviour.fault(text, attempt)
        counted = self.behaviour.count(text)
        if fault == "rate_limited":
            self._json(429, {"error": {"message": "slow down"}}, {"Retry-After": "7"})
        elif fault == "server_error":
            self._json(500, {"error": {"message": "out of order"}})
        elif self.behaviour.rejects_logprobs and body.get("logprobs"):
            self._json(400, {"error": {"message": "logprobs are not supported"}})
        elif fault == "newer" and "max_tokens" in body:
            self._json(400, {"error": {"message": "Use 'max_completion_tokens' instead of 'max_tokens'."}})
        elif fault == "newer" and "temperature" in body:
            self._json(400, {"error": {"message": "'temperature' does not support 0 with this model."}})
        elif fault == "wrong_key":
            self._json(401, {"error": {"message": f"wrong key {self.headers['Authorization']}"}})
        elif fault == "echo_key":
            self._json(400, {"error": {"message": f"bad request from {self.headers['Authorization']}"}})
        elif fault == "hang":
            self.behaviour.released.wait()
            self.close_connection = True
        elif fault == "too_long" or counted + body.get("max_tokens", 0) > self.behaviour.window:
            self._json(400, {"error": {"message": "too many tokens", "code": "context_length_exceeded"}})
        else:
            self._stream(body, text, fault, counted)

    def _json(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, body: dict[str, Any], text: str, fault: str, counted: int) -> None:
        self.version = VERSIONS[counted > self.behaviour.switches_above]
        read = cut(text, fault) if fault in CUTS else text
        if fault in CUTS and not self.behaviour.lies:
            counted = self.behaviour.count(read)
        counted += {"wrong_usage": counted, "doubled_bos": 1}.get(fault, 0)
        said = "" if fault in ("empty", "thinking", "refusal") else self.behaviour.answer(read)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, delta in enumerate(self._deltas(said, fault)):
            if fault == "reset" and number == 1:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if fault == "malformed" and number == 1:
                self._event('{"choices": [{"delta": {"content": ')
                continue
            self._event(json.dumps(self._chunk(body, delta)))
        self._event(json.dumps(self._chunk(body, {}, "content_filter" if fault == "filter" else "stop")))
        usage = {"prompt_tokens": counted, "completion_tokens": len(said.split()), "total_tokens": counted}
        self._event(json.dumps({**self._chunk(body, {}), "choices": [], "usage": usage}))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _deltas(self, said: str, fault: str) -> Iterator[dict[str, str]]:
        if fault == "thinking":
            yield {"reasoning_content": "Let me see."}
        elif fault == "refusal":
            yield {"refusal": "I would rather not."}
        elif fault != "empty":
            for piece in re.findall(r"\s*\S{1,3}", said):
                yield {"content": piece}

    def _chunk(self, body: dict[str, Any], delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        if "prompt" in body:
            choice["text"] = delta.get("content", "")
            choice |= {key: value for key, value in delta.items() if key != "content"}
        else:
            choice["delta"] = delta
        return {"id": "1", **self.version, "choices": [choice]}

    def _event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what is tested here."""


@contextmanager
def serving(behaviour: Server) -> Iterator[Server]:
    """Run the server on a free port of loopback until the context ends."""
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    server = _Server(("127.0.0.1", 0), handler)
    behaviour.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield behaviour
    finally:
        behaviour.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
