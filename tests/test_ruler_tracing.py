from __future__ import annotations

import itertools
import random
import re

import pytest

from longctx.errors import ConfigError
from longctx.records import Item, Score
from longctx.tasks.ruler_tracing import VariableTracking

TASK = VariableTracking()


def holders(texts: list[str], value: str) -> set[str]:
    """Which variables hold `value` after the statements, by carrying them out in order."""
    held: dict[str, str] = {}
    for text in texts:
        for name, source in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)\.", text):
            held[name] = held.get(source, source)
    return {name for name, holds in held.items() if holds == value}


def value_of(item: Item) -> str:
    (value,) = re.findall(r"\d+", item.question)
    return str(value)


@pytest.mark.parametrize("hops", [1, 2, 4, 20])
def test_the_targets_follow_from_carrying_out_the_statements(hops: int) -> None:
    task = VariableTracking(num_hops=hops)
    for seed, depth in itertools.product(range(50), (0.0, 0.5, 1.0)):
        item = task.item(random.Random(seed), depth)
        texts = [needle.text for needle in item.needles]
        assert holders(texts, value_of(item)) == set(item.targets)
        assert len(set(item.targets)) == len(item.needles) == item.hops == hops + 1
        assert all(re.fullmatch(r"[A-Z]{5}", target) for target in item.targets)
        assert re.fullmatch(r"VAR [A-Z]{5} = \d{5}\.", texts[0])
        assert all(re.fullmatch(r"VAR [A-Z]{5} = VAR [A-Z]{5}\.", text) for text in texts[1:])
        assert str(hops + 1) in item.answer_prefix
        assert not any(target in item.question + item.answer_prefix for target in item.targets)


def test_without_any_one_statement_some_targets_cannot_be_found() -> None:
    for seed in range(50):
        item = TASK.item(random.Random(seed), 0.2)
        for left_out in item.support:
            rest = [needle.text for number, needle in enumerate(item.needles) if number != left_out]
            assert holders(rest, value_of(item)) < set(item.targets)
        assert item.support == (0, 1, 2, 3, 4)


def test_the_chain_starts_at_the_depth_and_goes_on_in_order() -> None:
    for seed, depth in itertools.product(range(50), (0.0, 0.4, 0.99, 1.0)):
        depths = [needle.depth for needle in TASK.item(random.Random(seed), depth).needles]
        assert depths[0] == depth
        assert depths == sorted(depths)
        assert depths[-1] <= 1.0


def test_the_example_is_right_and_has_nothing_in_common_with_the_item() -> None:
    example = TASK.instruction
    (value,) = set(re.findall(r"\d{5}", example))
    said = re.search(r"that hold the value \d{5} are ([A-Z, ]+)\.", example)
    assert said is not None
    assert holders([example], value) == set(said[1].split(", "))
    assert len(example.split()) < 300
    for seed in range(2000):
        item = TASK.item(random.Random(seed), 0.5)
        assert value_of(item) != value
        assert not any(target in example for target in item.targets)


def test_a_number_that_is_the_examples_is_drawn_again() -> None:
    class Loaded(random.Random):
        draws = iter([60417, 12345])

        def randrange(self, *arguments: int) -> int:  # type: ignore[override]
            return next(self.draws)

    assert value_of(TASK.item(Loaded(0), 0.5)) == "12345"


def test_answers() -> None:
    item = TASK.item(random.Random(1), 0.5)
    for answer in (
        ", ".join(item.targets),
        "\n".join(sorted(item.targets)),
        f" {' '.join(item.targets)}.\n\nVAR NEXTT",
    ):
        assert TASK.score(answer, item.targets) == Score(1.0, near_miss=False, strict=1.0)
    for answer in ("", "none of them", "KUD, FEZ, WOB, JIP, TAQ", "VAR " * 30):
        assert TASK.score(answer, item.targets) == Score(0.0, near_miss=False, strict=0.0)
    assert TASK.score(" ".join(item.targets[:2]), item.targets).value == 0.4
    repeated = " ".join(needle.text for needle in item.needles)
    assert TASK.score(repeated, item.targets) == Score(1.0, near_miss=False, strict=1.0)


def test_the_same_seed_makes_the_same_item_and_another_one_another() -> None:
    assert TASK.item(random.Random(3), 0.5) == TASK.item(random.Random(3), 0.5)
    assert len({TASK.item(random.Random(seed), 0.5).targets for seed in range(50)}) == 50


def test_rulers_room_filler_and_kind() -> None:
    assert (TASK.max_new_tokens, TASK.filler, TASK.measures) == (30, "noise", "reasons")
    assert TASK.spec() == "vt:max_new_tokens=30:num_hops=4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_hops": 0}, "vt: num_hops is 0; it must be 1 to 20"),
        ({"num_hops": 21}, "num_hops is 21"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be at least 1"),
    ],
)
def test_illegal_options_are_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VariableTracking(**options)
