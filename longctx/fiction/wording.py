"""How questions are worded, and how a wording is read back: the one thing that asker and checker share."""

from __future__ import annotations

import re
from dataclasses import dataclass

CHAIN = "to the person who told it "
"""Each one in a row goes one step further back on the way of a secret."""
AND_ALSO = "; "
"""Between the events that a question lists."""


@dataclass(frozen=True, slots=True)
class Form:
    """One thing that can be asked."""

    kind: str
    patterns: tuple[str, ...]
    prefix: str
    """Beginning of the answer sentence."""


FORMS = {
    "thing_now": Form(
        "where_now",
        ("Where is {thing} now?", "Where is {thing} at the end of the story so far?", "At which place is {thing} now?"),
        "{thing} is now at",
    ),
    "person_now": Form(
        "where_now",
        ("In which place is {person} now?", "Where was {person} when last heard of?"),
        "{person} is now at",
    ),
    "before_move": Form(
        "where_before",
        ("Where was {person} just before going to {place}?", "From where did {person} come to {place}?"),
        "Before that, {person} was at",
    ),
    "before_take": Form(
        "where_before",
        ("Where was {thing} just before {person} took it?", "From which place did {person} take {thing}?"),
        "{thing} was at",
    ),
    "had_before": Form(
        "had_before",
        ("Who had {thing} just before {person} got it?", "Who was the last to have {thing} before {person} did?"),
        "Before that, {thing} was in the hands of",
    ),
    "giver": Form("who_gave", ("Who gave {thing} to {person}?", "From whom did {person} get {thing} as a gift?"), ""),
    "given": Form("who_gave", ("To whom did {person} give {thing}?",), "{person} gave {thing} to"),
    "lender": Form("who_gave", ("Who lent {thing} to {person}?",), ""),
    "lent": Form("who_gave", ("To whom did {person} lend {thing}?",), "{person} lent {thing} to"),
    "knower": Form("who_knows", ("Which of these people knows the secret of {topic}: {people}?",), ""),
    "teller": Form("who_knows", ("Who told the secret of {topic} {chain}to {person}?",), ""),
    "overheard": Form("who_knows", ("From whom did {person} overhear the secret of {topic}?",), ""),
    "belief": Form(
        "wrong_belief",
        ("Where does {person} wrongly believe {thing} to be?", "At which wrong place would {person} look for {thing}?"),
        "{person} wrongly believes that {thing} is at",
    ),
    "first": Form("which_first", ("Which of these came first in the story: {events}?",), "First of all,"),
    "stock": Form(
        "how_many",
        ("How many {goods} are left at {place}?", "What is the number of {goods} at {place} now?"),
        "The number of {goods} left at {place} is",
    ),
    "spouse": Form("who_is", ("Who is married to {person}?",), "{person} is married to"),
    # After the spouse: whoever reads a question back takes the first form that fits.
    "alias": Form("who_is", ("Who is {alias}?", "What is the name of {alias}?"), "{alias} is"),
    "promise": Form(
        "not_done",
        ("What did {person} promise {other} to do and has not done?",),
        "{person} promised {other} to",
    ),
}
KINDS = tuple(dict.fromkeys(form.kind for form in FORMS.values()))


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _reader(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    read = [
        re.escape(part) if number % 2 == 0 else f"(?P<chain>(?:{CHAIN})*)" if part == "chain" else f"(?P<{part}>.+?)"
        for number, part in enumerate(parts)
    ]
    return re.compile("".join(read))


_READERS = [(name, _reader(pattern)) for name, form in FORMS.items() for pattern in form.patterns]


def read(text: str) -> tuple[str, dict[str, str]]:
    """The name of the form and what fills its slots; raises ValueError for what is no question of ours."""
    for name, reader in _READERS:
        if match := reader.fullmatch(text):
            return name, match.groupdict()
    raise ValueError(f"not a question about the story: {text!r}")
