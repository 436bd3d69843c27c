"""Templates that unfold into text.

    {word}      one of the alternatives of the rule `word`, or the variable of that name
    [a|b|]      one of these; they may hold anything that a template may hold
    @           a or an, by what comes after it
    ^           makes the next letter a capital

A rule is a list of templates. Rules come from word lists; rules without slots are just words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any

# A compiled template is a list of parts: text, _Words, _Choice or _Slot.
Part = Any
Value = str | Callable[[], str]


class _Words:
    """Alternatives without slots: the common and the fast case."""

    __slots__ = ("size", "texts")

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.size = len(texts)


class _Choice:
    __slots__ = ("alternatives", "bag", "size")

    def __init__(self, alternatives: list[list[Part]]) -> None:
        self.alternatives = alternatives
        self.size = len(alternatives)
        self.bag: list[int] = []


class _Slot:
    """A variable, looked up when the text is made."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


_TOKEN = re.compile(r"\{(\w+)\}|([\[\]|])|([^\[\]|{}]+)")
_ARTICLE = re.compile(r"@ (\"?\w+)")
_CAPITAL = re.compile(r"\^(\W*)(\w)")
_SOUNDS_LIKE_A_CONSONANT = re.compile(r"(?:one|once|uni(?!n|m)|use|usu|eu|ewe)", re.IGNORECASE)
_SOUNDS_LIKE_A_VOWEL = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)


def article(word: str) -> str:
    """a or an, for the word that follows."""
    word = word.lstrip('"')
    if _SOUNDS_LIKE_A_VOWEL.match(word):
        return "an"
    return "an" if word[0] in "aeiouAEIOU" and not _SOUNDS_LIKE_A_CONSONANT.match(word) else "a"


def finish(text: str) -> str:
    """Puts in the articles and capitals that a template asked for."""
    if "@" in text:
        text = _ARTICLE.sub(lambda match: f"{article(match[1])} {match[1]}", text)
    if "^" in text:
        text = _CAPITAL.sub(lambda match: match[1] + match[2].upper(), text)
    return text


class Grammar:
    """Rules, compiled once for one story: `text(rule, variables)` makes text."""

    def __init__(self, rules: Mapping[str, list[str]], variables: frozenset[str], rng: random.Random) -> None:
        """Raises ValueError for a slot that is neither a rule nor a variable, or for an unclosed bracket."""
        self._random = rng.random
        self._variables = variables
        self._rules: dict[str, _Words | _Choice] = {}
        self._sources = rules
        for name in rules:
            self._rule(name)

    def _rule(self, name: str) -> _Words | _Choice:
        if name not in self._rules:
            if name not in self._sources:
                raise ValueError(f"no rule or variable {name!r}")
            templates = self._sources[name]
            if not any(mark in template for template in templates for mark in "{}[]"):
                self._rules[name] = _Words(list(templates))
            else:
                choice = self._rules[name] = _Choice([])  # registered first: rules may be recursive
                choice.alternatives = [self._compile(template) for template in templates]
                choice.size = len(templates)
        return self._rules[name]

    def _compile(self, template: str) -> list[Part]:
        """The parts of one template."""
        stack: list[list[list[Part]]] = [[[]]]
        end = 0
        for match in _TOKEN.finditer(template):
            if match.start() != end:
                raise ValueError(f"cannot read the template {template!r}")
            end = match.end()
            name, mark, text = match.groups()
            if name:
                stack[-1][-1].append(_Slot(name) if name in self._variables else self._rule(name))
            elif text:
                stack[-1][-1].append(text)
            elif mark == "[":
                stack.append([[]])
            elif len(stack) == 1:
                raise ValueError(f"{mark!r} outside brackets in {template!r}")
            elif mark == "|":
                stack[-1].append([])
            else:
                stack[-2][-1].append(_alternatives(stack.pop()))
        if len(stack) != 1 or end != len(template):
            raise ValueError(f"unclosed bracket in {template!r}")
        return stack[0][0]

    def _unfold(self, parts: list[Part], variables: Mapping[str, Value], out: list[str]) -> None:
        random = self._random
        for part in parts:
            kind = type(part)
            if kind is str:
                out.append(part)
            elif kind is _Words:
                out.append(part.texts[int(random() * part.size)])
            elif kind is _Choice:
                self._unfold(part.alternatives[int(random() * part.size)], variables, out)
            else:
                value = variables[part.name]
                out.append(value if type(value) is str else value())  # type: ignore[operator]

    def text(self, rule: str, variables: Mapping[str, Value]) -> str:
        """One unfolding of the rule, articles and capitals in place.

        The alternatives of the rule itself are dealt from a bag, so that a shape does not come
        again before the others have come.
        """
        out: list[str] = []
        start = self._rules[rule]
        self._unfold(start.alternatives[self._deal(start)] if type(start) is _Choice else [start], variables, out)
        return finish("".join(out))

    def unfold(self, rule: str, variables: Mapping[str, Value]) -> str:
        """Part of a text: one unfolding of the rule, articles and capitals still to be put in."""
        out: list[str] = []
        self._unfold([self._rules[rule]], variables, out)
        return "".join(out)

    def _deal(self, choice: _Choice) -> int:
        if not choice.bag:
            choice.bag = list(range(choice.size))
            for last in range(choice.size - 1, 0, -1):
                other = int(self._random() * (last + 1))
                choice.bag[last], choice.bag[other] = choice.bag[other], choice.bag[last]
        return choice.bag.pop()


def _alternatives(parts: list[list[Part]]) -> _Words | _Choice:
    if all(len(part) == 0 or (len(part) == 1 and isinstance(part[0], str)) for part in parts):
        return _Words([part[0] if part else "" for part in parts])
    return _Choice(parts)
