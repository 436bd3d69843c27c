from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Bench, metaspace, needle_task, wrap
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.documents.build import Grid, build_samples
from longctx.documents.frame import Frame, Trial
from longctx.documents.isolated import build_isolated, exact_fill
from longctx.documents.packed import MAX_SLACK_TOKENS
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import BudgetError, ConfigError
from longctx.records import Design, Haystack, Sample

Frames = dict[tuple[str, str, Design], Frame]
Trials = dict[str, list[Trial]]
TASK = needle_task("niah_single:digits=4")
KINDS = st.tuples(st.sampled_from(["byte_level", "metaspace"]), st.sampled_from(["chat", "plain"]))


def check_prompt(sample: Sample, hub: Any, frame: Frame) -> None:
    """What must hold for every prompt, whatever its design."""
    prompt = sample.prompt
    ids = prompt.token_ids().tolist()
    assert len(ids) == prompt.num_tokens
    text = hub.decode(ids)
    # A plain prompt starts with the tokenizer's own BOS, a chat template writes its own.
    special = frame.template.kind == "plain"
    shown = text.removeprefix("<bos>") if special else text
    assert hub(shown, add_special_tokens=special).input_ids == ids
    assert text.count("<bos>") == (1 if "<bos>" in text else 0)
    assert text.count(f"is {sample.targets[0]}.") == 1  # the needle, whole, once
    needle_text = hub.decode(ids[sample.support_positions[0] :])
    assert needle_text.startswith(" The special number for ")
    assert needle_text.index(sample.targets[0]) < 60
    if hub(f"{shown} {sample.targets[0]}", add_special_tokens=special).input_ids[: len(ids)] == ids:
        assert hub.decode([*ids, *sample.draft_ids.tolist()]) == f"{text} {sample.targets[0]}"
    else:  # the tokenizer merges the prompt with its answer: nothing can be drafted
        assert len(sample.draft_ids) == 0


@settings(max_examples=150)
@given(KINDS, st.integers(260, 4096), st.floats(0, 1), st.integers(0, 1), st.integers(0, 2**32))
def test_an_isolated_prompt_fills_its_context_exactly(
    bench: Bench,
    kind: tuple[str, str],
    length: int,
    depth: float,
    trial: int,
    seed: int,
) -> None:
    frame = bench.frames[(*kind, "isolated")]
    item = TASK.item(frame.rng(seed), depth)
    sample = build_isolated(frame, bench.trials[kind[0]][trial], length, depth, item)
    check_prompt(sample, bench.hubs[kind[0]], frame)
    assert sample.prompt.num_tokens + sample.prompt.max_new_tokens == length
    # The nearest gap is at most half a sentence away.
    assert abs(sample.needle_depth - depth) * length < 60


@settings(max_examples=25)
@given(KINDS, st.lists(st.integers(2, 15), min_size=1, max_size=4, unique=True), st.integers(1, 5), st.data())
def test_packed_prompts_stay_just_below_their_lengths(
    bench: Bench,
    kind: tuple[str, str],
    steps: list[int],
    num_depths: int,
    data: st.DataObject,
) -> None:
    lengths = [step * 256 + data.draw(st.integers(0, 63)) for step in steps]
    frame = bench.frames[(*kind, "packed")]
    depths = tuple(np.linspace(0, 1, num_depths).tolist())
    if min(lengths) < 200 + 40 * num_depths * len(lengths):  # the needles alone would fill it
        lengths = [length + 600 for length in lengths if length < 3400] or [3000]
    grid = Grid(tuple(sorted(lengths)), depths)
    trial = bench.trials[kind[0]][data.draw(st.integers(0, 1))]
    samples = build_samples(frame, grid, [trial], TASK.item)
    assert len(samples) == len(lengths) * num_depths
    assert len({id(sample.prompt.document) for sample in samples}) == 1
    for sample in samples:
        check_prompt(sample, bench.hubs[kind[0]], frame)
        slack = sample.cell.length - sample.prompt.num_tokens - sample.prompt.max_new_tokens
        assert 0 <= slack <= MAX_SLACK_TOKENS
        assert sample.support_positions[0] < sample.prompt.num_prefix_tokens
    assert len({sample.targets for sample in samples}) > 1 or len(samples) == 1


def build(frames: Frames, trials: Trials, design: Design, lengths: tuple[int, ...]) -> list[Sample]:
    grid = Grid(lengths, (0.0, 0.5, 1.0))
    return build_samples(frames["byte_level", "plain", design], grid, trials["byte_level"], TASK.item)


def test_a_cell_alone_is_the_cell_in_the_sweep(frames: Frames, trials: Trials) -> None:
    alone = build(frames, trials, "isolated", (2048,))
    among = build(frames, trials, "isolated", (1024, 2048, 4096))
    assert {sample.id for sample in alone} < {sample.id for sample in among}


def test_trials_differ_in_text_and_values_and_depths_in_values(frames: Frames, trials: Trials) -> None:
    samples = build(frames, trials, "isolated", (1024,))
    assert len({sample.targets for sample in samples}) == 6
    assert len({sample.prompt.document.id for sample in samples}) == 6
    first, other = (sample.prompt.document.token_ids for sample in samples if sample.cell.depth == 1.0)
    assert not np.array_equal(first[:200], other[:200])


def test_documents_of_a_trial_share_the_filler_before_their_needles(frames: Frames, trials: Trials) -> None:
    samples = {
        (s.cell.length, s.cell.depth): s for s in build(frames, trials, "isolated", (1024, 2048)) if s.cell.trial == 0
    }
    half, end = samples[2048, 0.5], samples[2048, 1.0]
    before = half.support_positions[0]
    assert np.array_equal(half.prompt.token_ids()[:before], end.prompt.token_ids()[:before])
    assert half.targets == samples[1024, 0.5].targets  # lengths are compared on the same fact


def test_packed_needles_have_keys_of_their_own(frames: Frames, trials: Trials) -> None:
    samples = [sample for sample in build(frames, trials, "packed", (1024, 2048, 4096)) if sample.cell.trial == 0]
    tails = [sample.prompt.tail_ids.tolist() for sample in samples]
    assert all(a != b for i, a in enumerate(tails) for b in tails[:i])


def test_anything_that_changes_the_prompt_changes_the_id(frames: Frames, trials: Trials) -> None:
    ids = set()
    for key in frames:
        frame = frames[key]
        item = TASK.item(frame.rng(0), 0.5)
        ids.add(build_isolated(frame, trials[key[0]][0], 512, 0.5, item).id)
    assert len(ids) == len(frames)


def test_a_length_too_short_for_the_question_names_the_shortest(frames: Frames, trials: Trials) -> None:
    frame, trial = frames["byte_level", "chat", "isolated"], trials["byte_level"][0]
    item = TASK.item(frame.rng(0), 0.5)
    with pytest.raises(BudgetError, match=r"100 tokens is too short .* the shortest is (\d+)") as caught:
        build_isolated(frame, trial, 100, 0.5, item)
    shortest = int(str(caught.value).rsplit(" ", 1)[1].rstrip("."))
    with pytest.raises(BudgetError):
        build_isolated(frame, trial, shortest - 1, 0.5, item)


def test_too_many_needles_for_a_length_is_an_error(frames: Frames, trials: Trials) -> None:
    grid = Grid((400, 4096), tuple(np.linspace(0, 1, 20).tolist()))
    frame = frames["byte_level", "plain", "packed"]
    with pytest.raises(BudgetError, match="too short to pack"):
        build_samples(frame, grid, trials["byte_level"][:1], TASK.item)


@given(st.integers(200, 4000))
def test_fills_are_whole_sentences_of_exactly_the_tokens_asked(bench: Bench, num_tokens: int) -> None:
    haystack = bench.trials["byte_level"][0].haystack
    fill = exact_fill(haystack, num_tokens)
    taken = [*range(fill.count), *fill.closers]
    assert len(set(taken)) == len(taken)
    assert fill.num_left == 0
    assert sum(int(haystack.starts[i + 1] - haystack.starts[i]) for i in taken) == num_tokens


def sevens() -> Haystack:
    """A hundred sentences of 7 tokens each: they reach only multiples of 7."""
    count = 100
    starts = np.arange(count + 1) * 7
    return Haystack("x", np.zeros(700, np.int32), starts, np.zeros(0, np.uint8), starts, starts, np.ones(count, bool))


@given(st.integers(1, 600))
def test_what_equal_sentences_cannot_reach_goes_to_the_room(num_tokens: int) -> None:
    haystack = sevens()
    if num_tokens < 7:
        with pytest.raises(BudgetError, match="No whole sentence"):
            exact_fill(haystack, num_tokens)
        return
    fill = exact_fill(haystack, num_tokens)
    assert fill.count + len(fill.closers) == num_tokens // 7
    assert fill.num_left == num_tokens % 7


@given(st.integers(100, 600))
def test_a_fill_that_stops_early_is_closed_even_if_it_cannot_be_exact(num_tokens: int) -> None:
    fill = exact_fill(sevens(), num_tokens, max_count=10)
    assert fill.count <= 10
    assert (fill.count + len(fill.closers)) * 7 + fill.num_left == num_tokens
    assert fill.num_left < 3 * 7
    assert (fill.num_left == 0) == (num_tokens % 7 == 0)


def test_plain_text_gets_the_tokenizers_bos_and_a_chat_template_its_own(frames: Frames, trials: Trials) -> None:
    for kind in ("plain", "chat"):
        frame = frames["metaspace", kind, "isolated"]
        ids = build_isolated(frame, trials["metaspace"][0], 512, 0.5, TASK.item(frame.rng(0), 0.5)).prompt.token_ids()
        assert ids[0] == 0
        assert (ids == 0).sum() == 1


def test_auto_takes_the_chat_template_where_there_is_one(hub_tokenizers: dict[str, Any]) -> None:
    assert choose_template("auto", "", HubTokenizer(hub_tokenizers["metaspace"])).kind == "chat"
    bare = HubTokenizer(wrap(metaspace(), chat=False))
    assert choose_template("auto", "", bare).kind == "plain"
    with pytest.raises(ConfigError, match="no chat template"):
        choose_template("chat", "", bare)


def test_the_answer_prefix_follows_the_assistant_header(
    frames: Frames, trials: Trials, hub_tokenizers: dict[str, Any]
) -> None:
    frame = frames["byte_level", "chat", "isolated"]
    sample = build_isolated(frame, trials["byte_level"][0], 512, 0.5, TASK.item(frame.rng(0), 0.5))
    text = hub_tokenizers["byte_level"].decode(sample.prompt.tail_ids)
    assert "that the text states?<end>\n<model>\nThe special number for " in text
    assert text.endswith(" is")
