from __future__ import annotations

import random
import re

import pytest
from conftest import needle_task

from longctx.errors import ConfigError, UnknownNameError
from longctx.tasks import parse_task


def test_a_spec_names_all_options_and_parses_back() -> None:
    task = parse_task("niah_single:digits=5")
    assert task.spec() == "niah_single:digits=5:max_new_tokens=16"
    assert parse_task(task.spec()) == task


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("niah_singel", "Unknown task 'niah_singel'. Did you mean niah_single"),
        ("niah_single:digit=5", "Unknown option of niah_single 'digit'. Did you mean digits"),
        ("niah_single:digits=five", "digits is 'five'"),
        ("niah_single:digits", "digits is ''"),
        ("niah_single:digits=0", "must be 1 to 12"),
        ("niah_single:max_new_tokens=7", "7 digits need at least 8"),
        ("fiction:hops=5", "fiction: hops is 5; it must be 1 to 4, or 0 for any."),
        ("fiction_facts:hops=5", "fiction_facts: hops is 5; it must be 1 to 4, or 0 for any."),
        ("fiction:kind=where_now+who_gav", "Did you mean who_gave"),
        ("fiction:distractors=-1", "distractors is -1; it must be 0 or more"),
        ("fiction:min_span=9:max_span=3", "max_span is 3, below min_span 9"),
        ("fiction_facts:kind=were_now", "Unknown kind of fiction_facts 'were_now'. Did you mean where_now"),
        ("fiction_facts:facts=3:hops=4", "fiction_facts: facts is 3; it must be 4 to 1000."),
        ("fiction_facts:facts=1", "fiction_facts: facts is 1; it must be 2 to 1000."),
    ],
)
def test_illegal_specs_are_named(spec: str, message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=re.escape(message)):
        parse_task(spec)


def test_an_item_states_what_it_asks() -> None:
    task = needle_task("niah_single:digits=5")
    for seed in range(50):
        item = task.item(random.Random(seed), 0.25)
        (number,) = item.targets
        assert re.fullmatch(r"[1-9]\d{4}", number)
        (needle,) = item.needles
        assert needle.depth == 0.25
        key = re.fullmatch(r"The special number for (\w+ \w+) is \d+\.", needle.text)
        assert key is not None
        assert key[1] in item.question
        assert item.answer_prefix == needle.text.removesuffix(f" {number}.")
        assert number not in item.question + item.answer_prefix
        assert task.score(f" {number}.", item.targets).value == 1.0
        assert re.search(task.stop, f" {number}.")
        assert not re.search(task.stop, f" {number}")
    assert task.item(random.Random(0), 0) == task.item(random.Random(0), 0)
    assert task.item(random.Random(0), 0) != task.item(random.Random(1), 0)
