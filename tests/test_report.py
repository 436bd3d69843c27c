"""What a report says of rows: cells, verdicts, capacities, words."""

from __future__ import annotations

import dataclasses
import json

import pytest
from report_runs import DEPTHS, FAILED, LENGTHS, ROWS, TASK, TRIALS, WRONG, grid, make_summary
from rows import make_row

from longctx.cli import sweep
from longctx.config import SweepConfig
from longctx.errors import ConfigError
from longctx.records import Row
from longctx.report.analysis import LengthPoint, analyse_counts
from longctx.report.capacity import Capacity, by_answers, length_words
from longctx.report.controls import control_results
from longctx.report.costs import sum_costs
from longctx.report.details import outcome
from longctx.report.differences import group_differences
from longctx.report.groups import group_tasks, run_labels
from longctx.report.hops import hop_results, span_results
from longctx.report.pages import make_report
from longctx.report.run_view import repeat_command
from longctx.report.tables import rows_frame
from longctx.report.theme import get_theme
from longctx.report.verdict import Verdict, judge
from longctx.report.words import caveats, plain_words
from longctx.statistics import LengthResult


def judged(counts: list[tuple[int, int]], failed: int = 0) -> Verdict:
    """The verdict on right and scored answers at 1k, 2k and so on; the first length has `failed` samples."""
    results = [LengthResult(1024 * 2**i, *count, failed if i == 0 else 0) for i, count in enumerate(counts)]
    analysis = analyse_counts(results)
    return judge("M", 9, "t", "packed", analysis.rules[0], analysis.points)


def test_cells_count_right_scored_failed_and_missing() -> None:
    (task,) = make_summary(ROWS[:-1]).tasks
    cell = task.cell(2048, 0.0)
    assert (cell.counts.num_right, cell.counts.num_scored, cell.failures, cell.num_missing) == (1, 3, (), 0)
    assert cell.label == "1/3"
    assert "1 of n = 3 right; 95 % Wilson interval 6% to 79%" in cell.explanation
    assert cell.mean_logprob == pytest.approx((-8 - 8 - 0.25) / 3)
    assert "mean log-probability of the wanted answer -5.42" in cell.explanation
    last = task.cell(4096, 1.0)
    assert (last.counts.num_scored, last.num_missing, last.past_window) == (2, 1, True)
    assert "past the advertised window" in last.explanation


def test_a_failure_is_a_failure_and_not_a_zero() -> None:
    summary = make_summary(grid({(4096, 1.0, trial): FAILED for trial in range(3)}))
    (task,) = summary.tasks
    cell = task.cell(4096, 1.0)
    assert make_summary().tasks[0].cell(4096, 1.0).label == "2/2!"  # some failed, some did not
    assert (cell.counts.accuracy, cell.label) == (None, "oom")
    assert task.points[2].accuracy == 1.0
    assert task.points[2].counts.num_failed == 3
    assert task.verdict.effective.value == 2048
    assert summary.addressable == Capacity("addressable", "", 2048, 2048, 2048, (1024, 4096))


def test_the_verdict_states_number_interval_rule_and_limits() -> None:
    (task,) = make_summary().tasks
    interval = task.points[1].interval
    assert interval is not None
    assert task.verdict.sentence == (
        "a <b>model</b> advertises 2,048 tokens; its effective length on niah_single (isolated) is 1,024 tokens "
        "(95 % interval: under 1,024 to 2,048). "
        f"At 2,048 tokens 6 of 9 answers were right (67%; {interval.low:.0%} to {interval.high:.0%})."
    )
    assert interval.low < 0.35  # a trial's answers are a cluster: wider than Wilson's, which is 35% to 88%
    assert interval.high > 0.88
    assert "at least 85.6%" in task.verdict.rule
    assert "With n = 8 (effective n = 6) at a length not even 8 of 8 right" in task.verdict.notes[0]
    assert "from an effective n of 24 on" in task.verdict.notes[0]  # 0.025 ** (1 / 24) is 0.8575


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([(1, 30), (0, 30)], "is under 1,024 tokens, the shortest tested (95 % interval: under 1,024)."),
        (
            [(30, 30), (30, 30)],
            "is at least 2,048 tokens, the longest tested (95 % interval: 2,048 to at least 2,048).",
        ),
        ([(30, 30), (0, 30)], "is 1,024 tokens (95 % interval: 1,024 to 1,024)."),
    ],
)
def test_verdicts_at_the_ends(counts: list[tuple[int, int]], words: str) -> None:
    verdict = judged(counts)
    assert words in verdict.sentence
    assert verdict.notes == ()


def test_a_length_that_failed_is_not_called_short() -> None:
    assert judged([(3, 3), (4, 4)], failed=1).sentence == (
        "M advertises 9 tokens; its effective length on t (packed) was not established. "
        "At 1,024 tokens 1 sample has no score, so it was not measured there."
    )


def test_addressable_is_where_everything_was_answered() -> None:
    rows = [make_row(length=1024), make_row(length=2048), make_row(**FAILED, length=2048), make_row(length=4096)]
    assert by_answers(rows) == Capacity("addressable", "", 1024, 1024, 1024, (1024, 4096))
    assert by_answers(rows[2:]) == Capacity("addressable", "", None, None, None, (2048, 4096))
    assert by_answers([]) is None


def test_canaries_decide_where_there_are_any() -> None:
    """Read whole to 2k; at 4k the start is not found, though every question was answered."""
    canaries = [
        make_row(sample_id=f"{length}/{depth}", length=length, depth=depth, control="canary", answer="4043756")
        for length in LENGTHS
        for depth in (0.0, 0.5, 1.0)
    ]
    canaries[6] = dataclasses.replace(canaries[6], answer="", score=0.0)
    summary = make_summary([*grid(), *canaries])
    assert summary.addressable == Capacity("addressable", "", 2048, 2048, 4096, (1024, 4096))
    assert "reads 2,048 tokens" in plain_words(summary, "a model")
    assert summary.num_rows == 27
    assert summary.tasks[0].controls == ()
    assert len(rows_frame([summary])) == 27 + 9


@pytest.mark.parametrize(
    ("value", "tested", "words"),
    [(8192, None, "8,192"), (8192, (1024, 8192), "at least 8,192"), (None, (1024, 8192), "under 1,024")],
)
def test_lengths_say_what_is_not_known_of_them(value: int | None, tested: tuple[int, int] | None, words: str) -> None:
    assert length_words(value, tested) == words


def test_the_paragraph_says_what_was_found_and_what_was_not_asked() -> None:
    words = plain_words(make_summary(), "a <b>model</b>")
    assert words.startswith("a <b>model</b> advertises a context window of 2,048 tokens. It was scored on 26 answers")
    assert "Up to 2,048 tokens all prompts were read whole and answered; at the next length some failed." in words
    assert "On niah_single it finds a stated fact up to 1,024 tokens, 50% of what is advertised" in words
    assert "compatible with anything from under 1,024 to 2,048" in words
    assert words.endswith("Whether it can combine facts over such lengths was not asked.")


def test_caveats_name_failures_few_samples_packing_and_the_window() -> None:
    rows = [dataclasses.replace(row, design="packed", repeated_share=0.5) for row in ROWS[1:]]
    said = "\n".join(caveats(make_summary(rows, design="packed")))
    for words in (
        "1 samples are missing",
        "1 samples have no score",
        "as few as 8 scored answers",
        "Packed design",
        "From 4,096 tokens on the prompts are longer",
        "50% of the filler repeats itself",
        "bounds a model from above",
    ):
        assert words in said


def test_controls_warn_where_they_spoil_a_score() -> None:
    def rows(control: str, num_right: int, num_candidates: int = 0) -> list[Row]:
        return [make_row(control=control, score=float(i < num_right), num_candidates=num_candidates) for i in range(20)]

    guessed, able = control_results([*rows("closed_book", 10), *rows("short", 19)])
    assert "Without the text 10 of 20" in (guessed.warning or "")
    assert able.warning is None
    (chance,) = control_results(rows("closed_book", 10, num_candidates=2))
    assert (chance.guess_rate, chance.warning) == (0.5, None)
    (unable,) = control_results(rows("short", 17))
    assert "can hardly do the task at all" in (unable.warning or "")


def test_hops_and_spans_are_counted_apart() -> None:
    rows = [
        make_row(length=1024, hops=1, support_positions=(500,)),
        make_row(length=1024, hops=2, support_positions=(100, 163), score=0.0),
        make_row(length=2048, hops=2, support_positions=(100, 228)),
        make_row(length=2048, hops=2, support_positions=(100, 164)),
    ]
    one, two = hop_results(rows, [1024, 2048])
    assert [(tally.num_right, tally.num_scored) for tally in one.by_length] == [(1, 1), (0, 0)]
    assert [(tally.num_right, tally.num_scored) for tally in two.by_length] == [(0, 1), (2, 2)]
    spans = [(span.least, span.counts.num_right, span.counts.num_scored) for span in span_results(rows)]
    assert spans == [(32, 0, 1), (64, 1, 1), (128, 1, 1)]
    assert hop_results(rows[1:], [1024, 2048]) == ()  # nothing to compare


def test_costs_add_up_over_the_starts_that_ended() -> None:
    ends = [
        {"flops": 3e12, "seconds": 2.0, "kv_bytes": {"device": 5, "host": 7}},
        {"flops": 1e12, "seconds": 2.0, "kv_bytes": {"device": 9}},
    ]
    rows = [make_row(num_prompt_tokens=1000, num_prefilled_tokens=250)] * 2
    cost = sum_costs(rows, {"starts": [{}] * 3, "ends": ends})
    assert (cost.tflops, cost.reused_share) == (1.0, 0.75)
    assert cost.kv_bytes == {"device": 9, "host": 7}
    assert (cost.num_starts, cost.num_ended) == (3, 2)
    assert sum_costs(rows, {"starts": [{}]}).tflops is None


def test_outcomes_tell_wrong_from_near_partly_and_failed() -> None:
    assert outcome(make_row()) == "right"
    assert outcome(make_row(score=0.0)) == "wrong"
    assert outcome(make_row(score=0.0, near_miss=True)) == "near miss"
    assert outcome(make_row(score=0.25)) == "partly right (25%)"
    assert outcome(make_row(**FAILED)) == "oom"


def test_runs_of_the_same_questions_are_compared_in_pairs() -> None:
    worse = grid({(4096, depth, trial): WRONG for depth in DEPTHS for trial in range(TRIALS)})
    (group,) = group_tasks([make_summary(grid()), make_summary(worse)])
    found = {one.length: one for one in group_differences(group)}
    assert all(one.paired and one.num == 9 for one in found.values())
    assert (found[4096].value, found[4096].significant) == (-1.0, True)
    assert (found[1024].value, found[1024].significant) == (0.0, False)


def test_runs_of_other_questions_are_not() -> None:
    other = grid(trials=3, targets=("1",), score=0.0)
    (group,) = group_tasks([make_summary(grid()), make_summary(other)])
    (first, *_) = group_differences(group)
    assert not first.paired
    # Newcombe's interval from the two Wilson intervals: 9 of 9 is 70.1 % to 100 %, 0 of 9 is 0 % to 29.9 %.
    assert first.value == -1.0
    assert first.interval.low == pytest.approx(-1.0)
    assert first.interval.high == pytest.approx(-1 + 2**0.5 * 0.29914, abs=1e-4)


def test_tasks_of_one_name_stand_together_unless_a_run_has_it_twice() -> None:
    other = "niah_single:digits=5:max_new_tokens=16"
    one, another = make_summary(), make_summary([], task=[other])
    (group,) = group_tasks([one, another])
    assert group.differing == (other, TASK)
    apart = group_tasks([one, make_summary([], task=[TASK, other])])
    assert [(group.name, len(group.series)) for group in apart] == [(TASK, 2), (other, 1)]


def test_runs_of_one_model_get_names_of_their_own() -> None:
    summary = make_summary()
    assert run_labels([summary]) == ("a <b>model</b>",)
    assert run_labels([summary, summary]) == ("a <b>model</b> (A)", "a <b>model</b> (B)")
    names = ("here", "served", "a <b>model</b>-0f3a")
    here, served, hashed = (dataclasses.replace(summary, folder=name) for name in names)
    assert run_labels([here, served]) == ("a <b>model</b> (here)", "a <b>model</b> (served)")
    assert run_labels([here, dataclasses.replace(served, model="another")]) == ("a <b>model</b>", "another")
    title = make_report([here, served, dataclasses.replace(hashed, folder="third")], get_theme("light")).title
    assert title == "a <b>model</b>: here, served and third"
    assert run_labels([here, here]) == run_labels([here, hashed]) == run_labels([summary, summary])
    with pytest.raises(ConfigError, match="7 runs cannot be told apart"):
        run_labels([summary] * 7)


def test_the_command_repeats_the_run() -> None:
    manifest = make_summary().manifest
    assert manifest is not None
    command = repeat_command(manifest["config"])
    assert "--lengths 1024,2048,4096" in command
    assert "--depths 0.0,0.5,1.0" in command
    assert command.endswith("--beyond-window")


def test_the_command_has_only_options_that_there_are() -> None:
    config = SweepConfig(lengths=(1024,), adaptive=True, allow_repeats=True, beyond_window=True, controls=False)
    options = {name for option in sweep.command.params for name in (*option.opts, *option.secondary_opts)}
    used = {word for word in repeat_command(json.loads(json.dumps(config.to_json()))).split() if word.startswith("--")}
    assert {"--no-controls", "--adaptive", "--allow-repeats"} <= used <= options


def test_a_cell_that_is_worse_than_its_length_is_marked() -> None:
    bad = {(2048, 0.5, trial): WRONG for trial in range(12)}
    summary = make_summary(grid(bad, trials=12), trials=12)
    (task,) = summary.tasks
    assert task.analysis.worse == {(2048, 0.5)}
    assert [task.mark(task.cell(2048, depth)) for depth in DEPTHS] == ["", " ▾", ""]
    assert make_summary(grid(trials=12), trials=12).tasks[0].analysis.worse == frozenset()


@pytest.mark.parametrize("lengths", [[2048], LENGTHS])
@pytest.mark.parametrize("depths", [[0.5], DEPTHS])
@pytest.mark.parametrize("trials", [1, 2])
def test_any_grid_has_a_verdict(lengths: list[int], depths: list[float], trials: int) -> None:
    rows = grid({}, lengths, depths, trials)
    (task,) = make_summary(rows, lengths=lengths, depths=depths, trials=trials).tasks
    assert "is at least" in task.verdict.sentence
    assert len(task.analysis.length_effects) == len(lengths) - 1
    assert all(point.counts.num_scored == len(depths) * trials for point in task.points)


def test_an_adaptive_sweep_is_judged_by_its_fitted_curve() -> None:
    """All right at 1k and 2k, all wrong at 8k, 4k never asked: no length failed for want of samples."""
    lengths = [1024, 2048, 4096, 8192]
    rows = [row for row in grid({}, [1024, 2048, 8192], trials=20) if row.length != 1024 or row.trial < 3]
    rows = [dataclasses.replace(row, score=float(row.length < 8192)) for row in rows]
    summary = make_summary(rows, lengths=lengths, trials=20, adaptive=True, rule="ruler")
    (task,) = summary.tasks
    assert task.analysis.fitted is not None
    assert (task.verdict.effective.low, task.verdict.effective.high) == (2048, 4096)
    assert "(isolated, adaptive)" in task.verdict.sentence
    assert "The sweep was adaptive" in task.verdict.rule
    assert "Quote the fitted curve" in "\n".join(caveats(summary))
    assert "not finished" not in "\n".join(caveats(summary))


def test_points_have_no_interval_where_nothing_was_scored() -> None:
    nothing = grid({(4096, depth, trial): FAILED for depth in DEPTHS for trial in range(TRIALS)})
    point: LengthPoint = make_summary(nothing).tasks[0].points[2]
    assert (point.interval, point.accuracy, point.effective_num) == (None, None, 0.0)
    assert make_summary([]).tasks[0].points[0].interval is None
    assert [point.length for point in make_summary([]).tasks[0].points] == LENGTHS
