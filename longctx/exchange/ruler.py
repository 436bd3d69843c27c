"""RULER's outputs: predictions as JSON lines, or the table made of them.

RULER keeps MODEL/synthetic/LENGTH/pred/TASK.jsonl with the fields pred and outputs, and beside them summary.csv.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from pathlib import Path

from longctx.errors import ConfigError
from longctx.exchange.imported import Imported, LengthScores
from longctx.scoring import NEVER_STOP, score_ruler_all, score_ruler_any

_TOOL = "RULER"


def length_folders(folder: Path) -> dict[int, Path]:
    """RULER's folders of predictions below `folder`, by context length in tokens; empty if it is not RULER's."""
    found = {}
    for place in sorted(folder.glob("**/pred")):
        if place.is_dir() and re.fullmatch(r"\d+", place.parent.name):
            found[int(place.parent.name)] = place
    return found


def read_ruler(folder: Path) -> Imported:
    """The scores below RULER's folder of one model, by RULER's own rules; raises ConfigError for damaged files."""
    tasks: defaultdict[str, list[LengthScores]] = defaultdict(list)
    num_empty = 0
    places = length_folders(folder)
    doubled = len({place.parent.parent for place in places.values()}) > 1
    if doubled:
        raise ConfigError(f"{folder} holds results of several models or benchmarks; name the folder of one of them.")
    for length, place in places.items():
        files = [path for path in sorted(place.glob("*.jsonl")) if not path.name.startswith("summary")]
        for path in files:
            scores, empty = _predictions(path, length)
            tasks[path.stem].append(scores)
            num_empty += empty
        if not files:
            for name, summed in _table(place, length).items():
                tasks[name].append(summed)
    notes = [f"{num_empty:,} answers are empty, which RULER counts as wrong."] if num_empty else []
    notes.append("A request that failed has left no trace: RULER drops it from its count.")
    first = next(iter(places.values()))
    return Imported(first.parent.parent.parent.name or str(folder), _TOOL, folder, dict(tasks), tuple(notes))


def _predictions(path: Path, length: int) -> tuple[LengthScores, int]:
    """The scores of one file, and how many of its answers are empty."""
    values, num_empty = [], 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            answer, wanted = str(record["pred"]), tuple(map(str, record["outputs"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}, line {number}, is not a prediction of RULER's: {error}.") from error
        if not wanted:
            raise ConfigError(f"{path}, line {number}, wants no output.")
        num_empty += not answer.strip()
        any_will_do = path.stem.startswith("qa")
        score = score_ruler_any(answer, wanted) if any_will_do else score_ruler_all(answer, wanted, NEVER_STOP)
        values.append(score.value)
    if not values:
        raise ConfigError(f"{path} holds no predictions.")
    return LengthScores(
        length, len(values), sum(values) / len(values), sum(value == 1.0 for value in values)
    ), num_empty


def _table(place: Path, length: int) -> dict[str, LengthScores]:
    """summary.csv: rows named Tasks, Score (percent) and Nulls (empty answers / all of them)."""
    found: dict[str, LengthScores] = {}
    for path in sorted(place.glob("summary*.csv")):
        rows = {row[0]: row[1:] for row in csv.reader(path.read_text(encoding="utf-8").splitlines()) if row}
        try:
            for name, score, nulls in zip(rows["Tasks"], rows["Score"], rows["Nulls"], strict=True):
                found[name] = LengthScores(length, int(nulls.partition("/")[2]), float(score) / 100)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"{path} is not a summary of RULER's: {error}.") from error
    if not found:
        raise ConfigError(f"{place} holds neither predictions nor a summary of RULER's.")
    return found
