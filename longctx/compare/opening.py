"""From the name of a source to a source that answers: a server, or a model that is loaded here."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from longctx.backends.endpoint.config import EndpointConfig
from longctx.backends.endpoint.ledger import Ledger
from longctx.compare.source import TOP_LOGPROBS, Source
from longctx.config import SweepConfig, check_base_url
from longctx.documents.tokenizer import Tokenizer
from longctx.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class SourceName:
    """A server by its URL and what it calls its model, or a model by name alone."""

    model: str
    base_url: str = ""

    @property
    def is_server(self) -> bool:
        return bool(self.base_url)


def parse_source(text: str) -> SourceName:
    """`URL#MODEL`, or a model's name; raises ConfigError for a URL without a model, or with a user or password."""
    if "://" not in text:
        return SourceName(text)
    url, _, model = text.partition("#")
    check_base_url(url)
    if not model:
        raise ConfigError(f"{url!r} names no model: write URL#MODEL.")
    return SourceName(model, url)


@contextlib.contextmanager
def open_source(
    text: str, config: SweepConfig, settings: EndpointConfig, ledger: Ledger, tokenizer: Tokenizer
) -> Iterator[Source]:
    """The source called `text`, asked as `config` and `settings` say; raises ConfigError or ModelError.

    What servers charge goes into `ledger`, which both sides may share.
    """
    name = parse_source(text)
    if not name.is_server:
        from longctx.compare.local import load_local

        yield load_local(text, config, tokenizer)
        return
    from longctx.backends.endpoint.connect import connect, greet, make_backend, offers_logprobs
    from longctx.backends.endpoint.content import Sender
    from longctx.compare.served import ServedSource

    served = dataclasses.replace(config, backend="openai", base_url=name.base_url, model=name.model)
    with connect(served, settings, ledger=ledger) as client:
        greeting = greet(client, served, tokenizer)
        backend = make_backend(client, served, tokenizer, 0, greeting, settings.concurrency)
        num_top = TOP_LOGPROBS if offers_logprobs(client, served, tokenizer, TOP_LOGPROBS) else 0
        facts = {**backend.fingerprint, **greeting.checks, "gives_logprobs": bool(num_top)}
        sender = Sender(served.api, tokenizer)
        yield ServedSource(text, client, sender, greeting.counts, facts, settings.concurrency, num_top)
