from __future__ import annotations

from pathlib import Path

import pytest

from longctx.config import SweepConfig, parse_depths, resolve_config
from longctx.errors import ConfigError, UnknownNameError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, 'lengths = "1k..4k"\ndepths = [0, 0.5, 1]\ntrials = 7\ntask = "niah_single"\n')
    config = resolve_config(file, {"trials": 2, "seed": None})
    assert config.lengths == (1024, 2048, 4096)
    assert config.depths == (0.0, 0.5, 1.0)
    assert config.trials == 2
    assert config.seed == SweepConfig().seed


def test_lists_of_lengths_and_tasks_can_stand_in_the_file(tmp_path: Path) -> None:
    config = resolve_config(
        write(tmp_path, 'lengths = ["1k", 3000]\ntask = ["niah_single", "niah_single:digits=5"]'), {}
    )
    assert config.lengths == (1024, 3000)
    assert config.task == ("niah_single", "niah_single:digits=5")


def test_an_unknown_key_is_an_error_that_offers_the_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'lenghts'.*Did you mean lengths"):
        resolve_config(write(tmp_path, 'lenghts = "1k"'), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('trials = "3"', "trials is '3'; it must be of type int"),
        ("trials = true", "must be of type int"),
        ("trials = 0", "at least 1"),
        ('design = "pakced"', "Did you mean packed"),
        ("depths = [2.0]", "between 0.0 and 1.0"),
        ('depths = "0.5,0.5"', "twice"),
        ('depths = ["half"]', "not depths"),
        ("depths = [[1]]", "not depths"),
        ('lengths = ["10Z"]', "not a length"),
        ("trials =", "Cannot read the config file"),
    ],
)
def test_illegal_values_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_config(write(tmp_path, text), {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        resolve_config(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("text", "depths"), [("5", (0.0, 0.25, 0.5, 0.75, 1.0)), ("1", (0.5,)), ("1,0", (0.0, 1.0)), ("0.3", (0.3,))]
)
def test_depths(text: str, depths: tuple[float, ...]) -> None:
    assert parse_depths(text) == depths


@pytest.mark.parametrize("text", ["0", "-2", "five", "0,x", ""])
def test_what_is_no_depth_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not depths"):
        parse_depths(text)


def test_the_digest_changes_with_the_config_and_only_then() -> None:
    assert SweepConfig().digest() == SweepConfig().digest()
    assert SweepConfig().digest() != SweepConfig(seed=1).digest()
