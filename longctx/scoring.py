"""Scorers: an answer's text and the targets in, a Score out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rapidfuzz.distance import Levenshtein

from longctx.records import Score

NUMBER_STOP = r"\d(?=\D)"
"""A number is complete when something other than a digit follows it."""
NEVER_STOP = r"(?!)"
"""Matches nothing: the answer goes on until the model ends it or the room is full, as in RULER."""
_SLIP = 2


def is_slip(said: str, target: str) -> bool:
    """Whether the two are the same but for one or two characters."""
    return Levenshtein.distance(said, target, score_cutoff=_SLIP) <= _SLIP


def score_number(text: str, targets: tuple[str, ...]) -> Score:
    """1.0 if the first number in `text` is one of the targets, digit for digit.

    Stricter than RULER's substring hit, which also accepts 40437561 for 4043756.
    """
    match = re.search(r"\d+", text)
    found = match[0] if match else ""
    if found in targets:
        return Score(1.0, near_miss=False)
    return Score(0.0, near_miss=bool(found) and any(is_slip(found, target) for target in targets))


def score_ruler_all(answer: str, targets: tuple[str, ...], candidate: str) -> Score:
    """RULER's rule for lists: the share of targets that occur in the answer, whatever else it says.

    The strict score reads whole candidates only (`candidate` is their regular expression), up to the end of the
    paragraph in which the first of them stands. It is 1.0 if they are the targets, each at least once, in any order,
    and nothing else, and 0.0 otherwise: to list everything that could be right gains nothing.
    """
    text = _ruler_text(answer)
    value = sum(_occurs(target, text) for target in targets) / len(targets)
    wanted = {target.lower() for target in targets}
    found = {match.lower() for match in _first_candidates(answer, candidate)}
    missing = [target for target in targets if not _occurs(target, text)]
    words = {word.lower() for word in re.findall(r"[\w-]+", text)} - wanted
    return Score(value, near_miss=_any_is_near(words, missing), strict=float(found == wanted))


def score_ruler_any(answer: str, targets: tuple[str, ...]) -> Score:
    """RULER's rule for questions: 1.0 if one of the targets occurs in the answer, whatever else it says.

    The strict score is 1.0 if the first line of the answer is a target and nothing else, but for case, articles and
    punctuation around it.
    """
    text = _ruler_text(answer)
    hit = any(_occurs(target, text) for target in targets)
    said = _bare(next(iter(text.splitlines()), ""))
    strict = hit and said in {_bare(target) for target in targets}
    near = not hit and _any_is_near({said} - {""}, [_bare(target) for target in targets])
    return Score(float(hit), near_miss=near, strict=float(strict))


def _ruler_text(answer: str) -> str:
    """As RULER cleans an answer: each non-printing character becomes a line break, so it can split a target."""
    return re.sub(r"[\x00-\x1f]", "\n", answer).strip()


def _occurs(target: str, text: str) -> bool:
    return target.lower() in text.lower()


def _first_candidates(answer: str, candidate: str) -> list[str]:
    """Candidates that are not part of a longer word, from the first one's paragraph.

    What a model goes on to write after its answer, such as a next question, is in later paragraphs.
    """
    whole = re.compile(rf"(?<![\w-])(?:{candidate})(?![\w-])")
    first = whole.search(answer)
    if first is None:
        return []
    end = re.compile(r"\n\s*\n").search(answer, first.end())
    matches = whole.finditer(answer, first.start(), end.start() if end else len(answer))
    return [match[0] for match in matches]


def _bare(text: str) -> str:
    """Lower case, without an article in front and without blanks and punctuation on either side."""
    stripped = re.sub(r"^\W+|\W+$", "", text.lower())
    return re.sub(r"^(?:the|an?)\s+", "", stripped)


def _any_is_near(found: Iterable[str], missing: Iterable[str]) -> bool:
    return any(is_slip(word, target.lower()) for word in found for target in missing)
