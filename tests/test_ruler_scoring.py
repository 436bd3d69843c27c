"""RULER's two rules against hand-made answers, and against its rule as it is written there."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.records import Score
from longctx.scoring import NEVER_STOP, score_ruler_any
from longctx.tasks.base import Task
from longctx.tasks.ruler_needles import NiahMultiquery, NiahSingle1, NiahSingle3
from longctx.tasks.ruler_questions import SingleQuestion
from longctx.tasks.ruler_tracing import VariableTracking
from longctx.tasks.ruler_words import CommonWords, FrequentWords

# Kind of target: its task, targets, and other candidates, none of them near a target.
KINDS: dict[str, tuple[Task, tuple[str, ...], tuple[str, ...]]] = {
    "number": (NiahSingle1(), ("4043756",), ("9918222", "1000001")),
    "numbers": (NiahMultiquery(), ("4043756", "1234567", "2468135", "9080706"), ("5550005", "3131313")),
    "uuid": (
        NiahSingle3(),
        ("1e2feb89-414c-443c-9027-c4d1c386bbc4",),
        ("cd613e30-d8f1-4adf-91b7-584a2265b1f5", "00000000-0000-4000-8000-000000000000"),
    ),
    "variables": (VariableTracking(), ("QWXEB", "HKZTU", "MPLDA", "ABOVE", "ZZTOP"), ("FRGSN", "IYCVJ")),
    "words": (CommonWords(), ("vivid-kettle", "stoic-larch", "brave-canyon"), ("mellow-harbor", "tulip-tunnel")),
    "coded": (FrequentWords(), ("qkzvta", "mmxohe", "bwyrsd"), ("pfjucl", "iigdnn")),
}

Write = Callable[[Sequence[str], Sequence[str]], str]

# Answers as a function of targets and wrong candidates that are right by both rules.
RIGHT: dict[str, Write] = {
    "comma list": lambda t, w: ", ".join(t),
    "leading blank": lambda t, w: " " + " ".join(t),
    "full stop": lambda t, w: f"{', '.join(t)}.",
    "shouted": lambda t, w: f"{'! '.join(t)}?!",
    "one per line": lambda t, w: "\n".join(t),
    "numbered": lambda t, w: "\n".join(f"{i}. {x}" for i, x in enumerate(t, 1)),
    "numbered in one line": lambda t, w: " ".join(f"({i}) {x};" for i, x in enumerate(t, 1)),
    "bullets": lambda t, w: "\n".join(f"- {x}" for x in t),
    "backwards": lambda t, w: ", ".join(reversed(t)),
    "each twice": lambda t, w: ", ".join([*t, *t]),
    "capitals": lambda t, w: ", ".join(t).upper(),
    "null bytes around": lambda t, w: "\x00".join(["", *t, ""]),
    "tabs": lambda t, w: "\t".join(t),
    "carriage returns": lambda t, w: "\r\n".join(t),
    "unit separators": lambda t, w: "\x1f".join(t),
    "escape codes": lambda t, w: " ".join(f"\x1b[1m {x} \x1b[0m" for x in t),
    "curly quotes": lambda t, w: " ".join(f"“{x}”" for x in t),
    "no-break blanks": lambda t, w: "\u00a0".join(t),
    "emoji": lambda t, w: "🙂".join(["", *t, ""]),
    "bold": lambda t, w: ", ".join(f"**{x}**" for x in t),
    "code": lambda t, w: ", ".join(f"`{x}`" for x in t),
    "JSON": lambda t, w: json.dumps(list(t)),
    "in brackets": lambda t, w: " ".join(f"({x})" for x in t),
    "a sentence": lambda t, w: f"They are {' and '.join(t)}.",
    "a preface": lambda t, w: f"Sure:\n\n{', '.join(t)}",
    "then a next question": lambda t, w: f"{', '.join(t)}.\n\nQuestion: {', '.join(w)}?",
    "then a next question after blanks": lambda t, w: f"{', '.join(t)}.\r\n \r\nQuestion: {', '.join(w)}?",
}

# Right by RULER's rule alone.
LENIENT: dict[str, Write] = {
    "inside a longer word": lambda t, w: ", ".join(f"a{x}a" for x in t),
    "inside a longer number": lambda t, w: ", ".join(f"{x}1" for x in t),
    "behind a letter with accent": lambda t, w: ", ".join(f"é{x}" for x in t),
    "between hyphens": lambda t, w: ", ".join(f"-{x}-" for x in t),
    "between underscores": lambda t, w: ", ".join(f"_{x}_" for x in t),
    "and one more": lambda t, w: ", ".join([*t, w[0]]),
    "after a wrong paragraph": lambda t, w: f"{w[0]}.\n\nNo: {', '.join(t)}",
    "everything there is": lambda t, w: " ".join(itertools.chain(w, t, w)),
}

# Wrong by both.
WRONG: dict[str, Write] = {
    "empty": lambda t, w: "",
    "blank": lambda t, w: " \n\t ",
    "null bytes alone": lambda t, w: "\x00\x00",
    "does not know": lambda t, w: "I do not know.",
    "refuses": lambda t, w: "The text states no such thing.\n\nIs there more?",
    "others": lambda t, w: ", ".join(w),
    "split by a null byte": lambda t, w: ", ".join(f"{x[:3]}\x00{x[3:]}" for x in t),
    "split by a zero-width blank": lambda t, w: ", ".join(f"{x[:3]}\u200b{x[3:]}" for x in t),
    "split by a blank": lambda t, w: ", ".join(f"{x[:3]} {x[3:]}" for x in t),
    "full width": lambda t, w: ", ".join("".join(chr(ord(c) + 0xFEE0) for c in x) for x in t),
    "mirrored": lambda t, w: ", ".join(x[::-1] for x in t),
    "rambling": lambda t, w: "It is hard to say. " * 40,
}

TABLE = [
    (kind, shape, write, value, strict)
    for kind in KINDS
    for shapes, value, strict in ((RIGHT, 1.0, 1.0), (LENIENT, 1.0, 0.0), (WRONG, 0.0, 0.0))
    for shape, write in shapes.items()
]


def upstream_all(answer: str, references: Sequence[str]) -> float:
    """RULER's postprocess_pred and string_match_all for one answer, in its steps."""
    prediction = answer.strip()
    prediction = re.compile(r"[\x00-\x1f]").sub("\n", prediction).strip()
    return sum(1.0 if r.lower() in prediction.lower() else 0.0 for r in references) / len(references)


def upstream_any(answer: str, references: Sequence[str]) -> float:
    """RULER's postprocess_pred and string_match_part for one answer, in its steps."""
    prediction = answer.strip()
    prediction = re.compile(r"[\x00-\x1f]").sub("\n", prediction).strip()
    return max(1.0 if r.lower() in prediction.lower() else 0.0 for r in references)


def test_the_table_has_over_200_answers() -> None:
    assert len({write(*KINDS[kind][1:]) + kind for kind, _, write, _, _ in TABLE}) > 200


@pytest.mark.parametrize(
    ("kind", "write", "value", "strict"),
    [pytest.param(kind, write, value, strict, id=f"{kind}: {shape}") for kind, shape, write, value, strict in TABLE],
)
def test_hand_made_answers(kind: str, write: Write, value: float, strict: float) -> None:
    task, targets, wrong = KINDS[kind]
    answer = write(targets, wrong)
    score = task.score(answer, targets)
    assert score.value == upstream_all(answer, targets) == value
    assert score.strict == strict


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_of_the_targets(kind: str) -> None:
    task, targets, _ = KINDS[kind]
    for count in range(1, len(targets)):
        answer = ", ".join(targets[:count])
        score = task.score(answer, targets)
        assert score == Score(count / len(targets), near_miss=False, strict=0.0)
        assert score.value == upstream_all(answer, targets)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_run_together_are_right_by_the_lenient_rule(kind: str) -> None:
    task, targets, _ = KINDS[kind]
    score = task.score("".join(targets), targets)
    assert (score.value, score.strict) == (1.0, float(len(targets) == 1))


@pytest.mark.parametrize("kind", ["variables", "words", "coded", "uuid"])
def test_lower_case(kind: str) -> None:
    """Variables are told from other words by their capitals."""
    task, targets, _ = KINDS[kind]
    score = task.score(", ".join(targets).lower(), targets)
    assert (score.value, score.strict) == (1.0, float(kind != "variables"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "slip",
    [lambda x: x[:-1], lambda x: x + x[-1], lambda x: x[0] + x[2] + x[1] + x[3:]],
    ids=["lost", "double", "swap"],
)
def test_a_slip_in_one_target_is_a_near_miss(kind: str, slip: Callable[[str], str]) -> None:
    task, targets, wrong = KINDS[kind]
    misread = [slip(targets[0]), *targets[1:]]
    score = task.score(", ".join(misread), targets)
    assert score.strict == 0.0
    assert score.near_miss == (score.value < 1.0)
    assert score.value == upstream_all(", ".join(misread), targets)
    assert not task.score(", ".join([wrong[0], *targets[1:]]), targets).near_miss


def test_another_target_is_no_near_miss() -> None:
    score = VariableTracking().score("ABCDE", ("ABCDE", "ABCDF"))
    assert score == Score(0.5, near_miss=False, strict=0.0)


def test_repeated_targets_count_as_often_as_they_stand_there() -> None:
    targets = ("1234567", "1234567", "7654321")
    score = NiahMultiquery().score("1234567", targets)
    assert score.value == upstream_all("1234567", targets) == 2 / 3
    assert NiahMultiquery().score("7654321 1234567", targets).strict == 1.0


@pytest.mark.parametrize(
    ("answer", "strict"), [("4043756.5", 0.0), ("4043756,5", 0.0), ("-4043756", 0.0), ("4043756, 5", 1.0)]
)
def test_another_number_that_begins_or_ends_alike(answer: str, strict: float) -> None:
    score = NiahSingle1().score(answer, ("4043756",))
    assert (score.value, score.strict) == (1.0, strict)


# A question's answer, with RULER's value and the strict one, for the target "Silver Bridge" or "Ravenmouth".
PLACES = ("Silver Bridge", "Ravenmouth")
QUESTION_TABLE = [
    ("Ravenmouth", 1.0, 1.0),
    (" Ravenmouth.", 1.0, 1.0),
    ("ravenmouth", 1.0, 1.0),
    ("RAVENMOUTH!", 1.0, 1.0),
    ("“Ravenmouth”", 1.0, 1.0),
    ("**Ravenmouth**", 1.0, 1.0),
    ("Silver Bridge", 1.0, 1.0),
    ("The Silver Bridge.", 1.0, 1.0),
    ("a silver bridge", 1.0, 1.0),
    ("\n\nRavenmouth", 1.0, 1.0),
    ("Ravenmouth\nQuestion: Who?", 1.0, 1.0),
    ("\x00Ravenmouth\x00 is it", 1.0, 1.0),  # a line break by RULER's cleaning
    ("Ravenmouth\u2028more", 1.0, 1.0),
    ("Ravenmouth is the town.", 1.0, 0.0),
    ("It is Ravenmouth.", 1.0, 0.0),
    ("not Ravenmouth", 1.0, 0.0),
    ("Ravenmouth, Silver Bridge", 1.0, 0.0),
    ("Greater Ravenmouth", 1.0, 0.0),
    ("Ravenmouths", 1.0, 0.0),
    ("Foxham\nRavenmouth", 1.0, 0.0),
    ("Éravenmouth", 1.0, 0.0),
    ("", 0.0, 0.0),
    (" \n ", 0.0, 0.0),
    ("\x00", 0.0, 0.0),
    ("...", 0.0, 0.0),
    ("I do not know.", 0.0, 0.0),
    ("Foxham", 0.0, 0.0),
    ("Raven mouth", 0.0, 0.0),
    ("Raven\x00mouth", 0.0, 0.0),
    ("Silver\tBridge", 0.0, 0.0),
    ("Silver  Bridge", 0.0, 0.0),
    ("Bridge", 0.0, 0.0),
]


@pytest.mark.parametrize(("answer", "value", "strict"), QUESTION_TABLE)
def test_answers_to_questions(answer: str, value: float, strict: float) -> None:
    score = SingleQuestion().score(answer, PLACES)
    assert score.value == upstream_any(answer, PLACES) == value
    assert score.strict == strict


@pytest.mark.parametrize(
    ("answer", "near"),
    [("Ravenmuth", True), ("Ravnmuth.", True), ("The Silver Brigde", True), ("Foxham", False), ("", False)],
)
def test_a_misspelt_answer_is_a_near_miss(answer: str, near: bool) -> None:
    assert score_ruler_any(answer, PLACES) == Score(0.0, near_miss=near, strict=0.0)


def test_an_article_counts_where_the_target_has_one() -> None:
    targets = ("The Tepid Linen",)
    assert score_ruler_any("The Tepid Linen", targets).strict == 1.0
    assert score_ruler_any("Tepid Linen", targets) == Score(0.0, near_miss=True, strict=0.0)


PIECES = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(["4043756", "1234567", "qkzvta", "QkZvTa", "vivid-kettle", "QWXEB", "İ", "ß", "\u212a"]),
        st.sampled_from([" ", "\n", "\n\n", "\x00", "\x1f", ", ", ". ", "-", "\u200b"]),
    ),
    max_size=12,
).map("".join)


@given(answer=PIECES, targets=st.lists(st.sampled_from(["4043756", "1234567", "qkzvta"]), min_size=1, max_size=4))
def test_any_answer_scores_as_upstream_and_the_strict_score_is_never_above(answer: str, targets: list[str]) -> None:
    references = tuple(targets)
    for task in (NiahMultiquery(), FrequentWords(), CommonWords()):
        score = task.score(answer, references)
        assert score.value == upstream_all(answer, references)
        assert score.strict is not None
        assert score.strict <= score.value
        assert not (score.near_miss and score.value == 1.0)
    score = SingleQuestion().score(answer, references)
    assert score.value == upstream_any(answer, references)
    assert score.strict is not None
    assert score.strict <= score.value


def test_never_is_never() -> None:
    assert not re.search(NEVER_STOP, "anything\n\nat all")
    assert not re.search(NEVER_STOP, "")
