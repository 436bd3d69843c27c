"""Other tools' results read, and ours written as theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from report_runs import ROWS, grid, make_summary, write_run

from longctx.cli import main
from longctx.errors import ConfigError, StoreError
from longctx.exchange.hub import to_eval_results, to_model_card
from longctx.exchange.lm_eval import read_lm_eval, to_lm_eval
from longctx.exchange.read import read_results
from longctx.exchange.ruler import read_ruler
from longctx.report.summary import Summary


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def lm_eval_results(**changes: Any) -> dict[str, Any]:
    """What lm-eval writes of its ruler group at two of three lengths."""
    return {
        "results": {
            "niah_single_1": {"4096,none": 1.0, "4096_stderr,none": "N/A", "8192,none": 0.75, "16384,none": -1},
            "ruler_vt": {"alias": "vt", "4096,none": 0.933, "8192,none": 0.5},
            "ruler": {"alias": "ruler", "4096,none": 0.97},
            "arc_easy": {"alias": "arc_easy", "acc,none": 0.5},
        },
        "groups": {"ruler": {"4096,none": 0.97}},
        "n-samples": {
            "niah_single_1": {"original": 40, "effective": 40},
            "ruler_vt": {"original": 1000, "effective": 1000},
            "arc_easy": {"original": 10, "effective": 10},
        },
        "model_name": "owner/model",
        **changes,
    }  # fmt: skip


def write_predictions(root: Path, length: int, task: str, answers: list[tuple[str, list[str]]]) -> None:
    folder = root / "synthetic" / str(length) / "pred"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"index": 0, "pred": pred, "outputs": outputs}) for pred, outputs in answers]
    (folder / f"{task}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def counts(summary: Summary) -> dict[str, list[tuple[int, int, int]]]:
    """Length, right and scored by task."""
    return {
        task.task: [(point.length, point.counts.num_right, point.counts.num_scored) for point in task.points]
        for task in summary.tasks
    }


def test_lm_eval_results_become_counts_by_length(tmp_path: Path) -> None:
    summary = read_results(write_json(tmp_path / "results_x.json", lm_eval_results()))
    assert counts(summary) == {
        "niah_single_1": [(4096, 20, 20), (8192, 15, 20)],
        "vt": [(4096, 466, 500), (8192, 250, 500)],  # 0.933 of 500 is 466.5
    }
    assert (summary.model, summary.window, summary.depths) == ("owner/model", None, ())
    first = summary.tasks[0]
    # Wilson for 15 of 20: 53.1 % to 88.8 %.
    interval = first.points[1].interval
    assert interval is not None
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.531, 0.888)
    assert first.verdict.sentence.startswith(
        "owner/model's effective length on niah_single_1 (lm-evaluation-harness) is"
    )
    assert "Only means were kept" in summary.origin


def test_lm_eval_counts_by_length_are_taken_where_they_are_kept(tmp_path: Path) -> None:
    content = lm_eval_results()
    content["results"]["ruler_vt"]["sample_count"] = {"4096,none": 100, "8192,none": 10}
    assert counts(read_results(write_json(tmp_path / "r.json", content)))["vt"] == [
        (4096, 93, 100),
        (8192, 5, 10),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "is not a results file"),
        ({"results": {"arc": {"acc,none": 0.5}}}, "no metric that is named by a context length"),
        (
            lm_eval_results(results={"t": {"4096,none": 93.0}}, **{"n-samples": {"t": {"effective": 5}}}),
            "between 0 and 1",
        ),
        (lm_eval_results(results={"t": {"4096,none": 0.9}}, **{"n-samples": {"t": {"effective": 0}}}), "no samples"),
        (lm_eval_results(results={"t": {"4096,none": 0.9}}), "KeyError"),
    ],
)
def test_what_is_not_lm_evals_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_lm_eval(write_json(tmp_path / "r.json", content))


def test_rulers_predictions_are_scored_by_its_rules(tmp_path: Path) -> None:
    root = tmp_path / "llama-3.1"
    write_predictions(
        root, 4096, "niah_multivalue", [("It is 11 and 22.", ["11", "22"]), ("11", ["11", "22"]), ("", ["7"])]
    )
    write_predictions(root, 4096, "qa_1", [("PARIS, of course", ["London", "Paris"])])
    write_predictions(root, 8192, "qa_1", [("Rome", ["London", "Paris"]), ("london", ["London"])])
    summary = read_results(root)
    assert summary.model == "llama-3.1"
    assert counts(summary) == {"niah_multivalue": [(4096, 1, 3)], "qa_1": [(4096, 1, 1), (8192, 1, 2)]}
    assert summary.tasks[0].means[0].score == 0.5  # all of two, half of two, none
    assert "1 answers are empty" in summary.origin


def test_rulers_table_serves_where_there_are_no_predictions(tmp_path: Path) -> None:
    folder = tmp_path / "m" / "synthetic" / "131072" / "pred"
    folder.mkdir(parents=True)
    (folder / "summary.csv").write_text("0,1,2\nTasks,niah_single_1,vt\nScore,100.0,84.4\nNulls,0/500,3/500\n")
    assert counts(read_results(tmp_path / "m")) == {"niah_single_1": [(131072, 500, 500)], "vt": [(131072, 422, 500)]}


def test_damaged_or_mixed_ruler_folders_are_refused(tmp_path: Path) -> None:
    write_predictions(tmp_path / "one", 4096, "vt", [("x", [])])
    with pytest.raises(ConfigError, match="line 1, wants no output"):
        read_ruler(tmp_path / "one")
    (tmp_path / "one" / "synthetic" / "4096" / "pred" / "vt.jsonl").write_text('{"pred": "x"}\n')
    with pytest.raises(ConfigError, match="line 1, is not a prediction"):
        read_ruler(tmp_path / "one")
    write_predictions(tmp_path / "two", 8192, "vt", [("x", ["x"])])
    with pytest.raises(ConfigError, match="several models"):
        read_ruler(tmp_path)


def test_what_is_nobodys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run folder"):
        read_results(tmp_path)
    with pytest.raises(StoreError, match="is not a run folder"):
        read_results(tmp_path / "absent")
    for name in ("a", "b"):
        write_json(tmp_path / f"results_{name}.json", lm_eval_results())
    with pytest.raises(ConfigError, match="holds 2 results files"):
        read_results(tmp_path)


def test_ours_written_for_lm_eval_reads_back_the_same(tmp_path: Path) -> None:
    summary = make_summary()
    files = to_lm_eval(summary)
    assert set(files) == {"results.json", "samples_niah_single.jsonl"}
    (tmp_path / "results.json").write_bytes(files["results.json"])
    back = read_results(tmp_path / "results.json")
    ours = [(p.length, p.counts.num_right, p.counts.num_scored) for p in summary.tasks[0].points]
    assert counts(back) == {"niah_single": ours}
    samples = [json.loads(line) for line in files["samples_niah_single.jsonl"].splitlines()]
    assert len(samples) == len(ROWS)
    assert [sample["outcome"] for sample in samples].count("oom") == 1
    failed = next(sample for sample in samples if sample["outcome"] == "oom")
    assert failed[str(failed["doc"]["max_length"])] is None  # not 0.0


def test_the_model_card_gives_n_and_interval_and_leaves_failed_lengths_out() -> None:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    content = yaml.safe_load(to_model_card(make_summary()))
    name, results = model_index_to_eval_results(content["model-index"])
    assert name == "a <b>model</b>"
    assert [(result.dataset_args or {})["context_length"] for result in results] == [1024, 2048]
    assert results[1].metric_value == 0.6667
    assert (results[1].metric_args or {})["num_samples"] == 9
    assert results[1].dataset_name == "niah_single at 2,048 tokens"


def test_evaluation_results_for_the_hub_read_back() -> None:
    from huggingface_hub import parse_eval_result_entries

    entries = parse_eval_result_entries(yaml.safe_load(to_eval_results(make_summary(grid()), "owner/benchmark")))
    assert [(entry.dataset_id, entry.task_id, entry.value) for entry in entries] == [
        ("owner/benchmark", f"niah_single_{length}", 100.0) for length in (1024, 2048, 4096)
    ]
    assert "num_samples 9" in (entries[0].notes or "")
    assert entries[0].date == "2026-01-01"
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        to_eval_results(make_summary(), "benchmark")


def test_the_command_draws_old_results_and_writes_ours_for_others(tmp_path: Path) -> None:
    results = write_json(tmp_path / "results_x.json", lm_eval_results())
    refused = CliRunner().invoke(main, ["report", str(results)])
    assert (refused.exit_code, "--out" in refused.output) == (2, True)
    drawn = CliRunner().invoke(main, ["report", str(results), "--out", str(tmp_path / "drawn"), "--format", "html,md"])
    assert drawn.exit_code == 0, drawn.output
    assert "Read from results of lm-evaluation-harness" in (tmp_path / "drawn" / "report.html").read_text()
    run = write_run(tmp_path / "run")
    formats = ["--format", "lm-eval,model-card,hub", "--hub-dataset", "owner/name"]
    written = CliRunner().invoke(main, ["report", str(run), *formats])
    assert written.exit_code == 0, written.output
    assert (run / "lm-eval" / "results.json").exists()
    assert (run / "model-card.yaml").exists()
    assert (run / "eval-results.yaml").exists()
    assert not (run / "report.html").exists()
    refused = CliRunner().invoke(main, ["report", str(run), "--format", "hub"])
    assert (refused.exit_code, "--hub-dataset" in refused.output) == (2, True)
    both = CliRunner().invoke(main, ["report", str(run), str(run), "--format", "lm-eval", "--out", str(tmp_path)])
    assert (both.exit_code, "one run each" in both.output) == (2, True)
