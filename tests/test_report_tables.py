"""A report's figures as data."""

from __future__ import annotations

import dataclasses
import io
import json

import pandas as pd
import pytest
from report_runs import DEPTHS, LENGTHS, ROWS, make_summary
from rows import make_row

from longctx.errors import ConfigError
from longctx.records import Row
from longctx.report.tables import to_csv, to_json, to_parquet

CONTROL = make_row(sample_id="control", length=0, control="short")


def test_csv_has_a_line_for_every_cell_with_n_and_interval() -> None:
    frame = pd.read_csv(io.BytesIO(to_csv([make_summary()])))
    assert len(frame) == len(LENGTHS) * len(DEPTHS)
    worst = frame[(frame.length == 2048) & (frame.depth == 0.0)].iloc[0]
    assert (worst.num_right, worst.num_scored, worst.accuracy) == (1, 3, pytest.approx(1 / 3))
    # Wilson for 1 of 3: 6.15 % to 79.23 %.
    assert (worst.low, worst.high) == (pytest.approx(0.0615, abs=1e-4), pytest.approx(0.7923, abs=1e-4))
    failed = frame[(frame.length == 4096) & (frame.depth == 1.0)].iloc[0]
    assert (failed.num_failed, failed.num_scored, failed.past_window) == (1, 2, True)


def test_parquet_holds_every_row_as_it_was() -> None:
    frame = pd.read_parquet(io.BytesIO(to_parquet([make_summary([*ROWS, CONTROL])])))
    assert len(frame) == len(ROWS) + 1
    back = {
        Row.from_json({name: value for name, value in line.items() if name not in ("run", "model")})
        for line in json.loads(frame.to_json(orient="records", double_precision=15))
    }
    assert back == {dataclasses.replace(row) for row in [*ROWS, CONTROL]}


def test_parquet_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="no rows"):
        to_parquet([make_summary([])])


def test_json_says_what_the_page_says() -> None:
    (run,) = json.loads(to_json([make_summary([*ROWS, CONTROL])]))["runs"]
    assert (run["model"], run["window"], run["num_samples"]) == ("a <b>model</b>", 2048, 27)
    assert [(bar["name"], bar["value"]) for bar in run["capacities"]] == [
        ("advertised", 2048),
        ("addressable", 2048),
        ("retrieves", 1024),
    ]
    (task,) = run["tasks"]
    assert [point["num_right"] for point in task["by_length"]] == [9, 6, 8]
    assert [found["rule"]["name"] for found in task["effective_lengths"]] == ["ruler", "nolima", "all_depths"]
    assert task["controls"][0]["counts"] == {"num_right": 1, "num_scored": 1}
