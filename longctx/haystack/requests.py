"""A long chat: a user asks for short pieces of writing, an assistant writes them. Filler of repeated_requests.

One line is one request with its reply, or a short question with its answer. Requests come again and again with another
reply, as do those that the task hides; but the two never meet, because a part of all requests is kept for the task. All
forms and nearly all topics are in both parts, so nothing shows which a request belongs to.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from longctx.haystack.lexicon import load_lexicon

# One request in so many is kept for the task.
_RESERVED_SHARE = 4
MIN_WORDS, MAX_WORDS = 25, 60
_SMALL_TALK_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Request:
    form: str
    topic: str

    @property
    def text(self) -> str:
        return f"Write {'an' if self.form[0] in 'aeiou' else 'a'} {self.form} about {self.topic}."

    @property
    def is_reserved(self) -> bool:
        """Whether only the task may make it."""
        return zlib.crc32(f"{self.form}/{self.topic}".encode()) % _RESERVED_SHARE == 0

    def exchange(self, piece: str) -> str:
        return f"User: {self.text} Assistant: {piece}"


@cache
def all_requests(*, reserved: bool) -> tuple[Request, ...]:
    words = load_lexicon("requests")
    made = [Request(form, topic) for form in words["forms"] for topic in words["topics"]]
    return tuple(request for request in made if request.is_reserved == reserved)


def write(request: Request, rng: random.Random) -> str:
    """A piece of 25 to 60 words that answers `request`: an opening of its form, then lines that name the topic."""
    words = load_lexicon("requests")
    opening = rng.choice(words["openings"][words["forms"].index(request.form)].split("|"))
    piece = opening.replace("@", request.topic)
    piece += "" if piece.endswith("?") else "."
    wanted = rng.randint(MIN_WORDS, MAX_WORDS - 15)  # a line has at most 15 words
    while len(piece.split()) < wanted:
        line = _line(request.topic, rng)
        piece += f" {line[0].upper()}{line[1:]}."
    return piece


def _line(topic: str, rng: random.Random) -> str:
    words = load_lexicon("requests")

    def some(kind: str) -> str:
        return rng.choice(words[kind])

    first, second = f"{some('adjectives')} {some('nouns')}", f"{some('adjectives')} {some('nouns')}"
    return rng.choice(
        (
            f"{first} {some('verbs')} {topic} {some('places')}",
            f"{some('places')}, {topic} {some('verbs')} {first}",
            f"{first} and {second} {some('verbs')} {some('nouns')} {some('places')}",
            f"we {some('verbs')} {topic}, and {first} {some('verbs')} {some('nouns')}",
            f"few {topic} {some('verbs')} {first} {some('places')}",
            f"if {first} {some('verbs')} {some('nouns')}, {topic} {some('verbs')} {some('nouns')}",
        )
    )


def exchanges(seed: int) -> Iterator[str]:
    """Requests with their replies and some small talk for `seed`, without end; nothing comes twice."""
    rng = random.Random(seed)
    requests = all_requests(reserved=False)
    told: set[str] = set()
    while True:
        if rng.random() < _SMALL_TALK_SHARE:
            exchange = _small_talk(rng)
        else:
            request = rng.choice(requests)
            exchange = request.exchange(write(request, rng))
        if exchange not in told:
            told.add(exchange)
            yield exchange


def _small_talk(rng: random.Random) -> str:
    """A short question with its reply: it asks for no writing, and it fills a document where no piece fits."""
    words = load_lexicon("requests")
    one, two = rng.sample(words["topics"], 2)
    ask = rng.choice(
        (f"{one.capitalize()} or {two}?", f"Do you prefer {one} or {two}?", f"Which are older, {one} or {two}?")
    )
    chosen = rng.choice((one, two))
    return f"User: {ask} Assistant: {rng.choice((chosen.capitalize(), f'I would say {chosen}', f'Surely {chosen}'))}."
