from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import transformers as tf
from click.testing import CliRunner, Result

from longctx.cli import main

ELSEWHERE = ["--gpus", "8", "--gpu-memory", "80GiB", "--tflops", "500"]
HOST = ["--host-memory", "2TiB", "--pcie", "50GB/s"]


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", *arguments])


def rows(result: Result) -> dict[str, list[str]]:
    """The table by length, its columns as words."""
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    start = next(i for i, words in enumerate(lines) if words[:1] == ["length"])
    return {words[0]: words[1:] for words in lines[start + 1 :] if words and words[0].strip("*")[:-1].isdigit()}


@pytest.fixture(scope="module")
def llama_8b(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a config alone: neither weights nor a tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "llama-8b"
    tf.LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
        max_position_embeddings=131072,
    ).save_pretrained(folder)
    return str(folder)


def test_a_machine_elsewhere(llama_8b: str) -> None:
    result = plan("--model", llama_8b, "--lengths", "8k..10M", *ELSEWHERE, *HOST)
    table = rows(result)
    assert list(table) == ["8k", "16k", "32k", "64k", "128k", "256k*", "512k*", "1M*", "2M*", "4M*", "8M*", "10M*"]
    assert table["8k"][:4] == ["1.00", "GiB", "–", "–"]
    # 131,072 bytes a token; 640 GiB less 48 GB of reserve and 14.96 GiB of weights are on the GPUs.
    assert table["10M*"][:5] == ["580.34", "GiB", "699.66", "GiB", "–"]
    assert all(words[-1] == "yes" for words in table.values())
    assert "131,072 tokens advertised; weights 14.96 GiB" in result.output
    assert "* past the advertised window" in result.output
    assert "4.00 PFLOP/s, 26,800.0 GB/s of device memory, 400.0 GB/s from host memory" in result.output
    assert "Chunks of 8,192 tokens" in result.output


def test_what_is_missing_is_said_in_full(llama_8b: str) -> None:
    arguments = ["--model", llama_8b, "--lengths", "1M"]
    assert "no: 63.18 GiB more memory for KV" in plan(*arguments, "--gpu-memory", "85.37GiB", "--tflops", "9").output
    small = plan(*arguments, "--gpu-memory", "20GB", "--tflops", "500", "--disk", "64GiB", "--nvme", "6GB/s", *HOST[2:])
    assert "no: 1.92 GiB more device memory for the weights, 64.00 GiB more disk" in small.output


def test_options_of_the_reading(llama_8b: str) -> None:
    arguments = ["--model", llama_8b, "--lengths", "4k", *ELSEWHERE]
    result = plan(*arguments, "--dtype", "float32", "--chunk", "1024", "--questions", "3", "--hbm", "1TB/s")
    assert rows(result)["4k"][:2] == ["1.00", "GiB"]
    assert "weights 29.92 GiB, 4 bytes a number" in result.output
    assert "Chunks of 1,024 tokens, decode: a step of 3 questions together" in result.output
    assert "rates as stated: 4.00 PFLOP/s, 8,000.0 GB/s" in result.output


def test_this_machine_and_the_lengths_of_the_window(model_folder: Path, tmp_path: Path) -> None:
    shutil.copy(model_folder / "config.json", tmp_path)
    result = plan("--model", str(tmp_path))
    assert list(rows(result)) == ["256", "512", "1k", "1088*"]
    assert "measured just now" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "10Z"], "'10Z' is not a length"),
        (["--model", "no-such-model"], "Unknown model"),
        (["--model", "/no/such/folder"], "Unknown model"),
        (["--gpus", "0"], "0 is not in the range x>=1"),
        (["--questions", "0"], "0 is not in the range x>=1"),
        (["--pcie", "fast"], "'fast' is not a rate: write 50GB/s"),
        (["--gpu-memory", "lots"], "'lots' is not an amount of memory"),
        (["--gpus", "8"], "add --gpu-memory and --tflops"),
        (["--disk", "4TB"], "add --nvme"),
        (["--dtype", "int4"], "Unknown dtype 'int4'"),
        (["--chunk", "many"], "write a number of tokens, or auto"),
        ([*ELSEWHERE, "--tflops", "nan"], "tflops is nan"),
    ],
)
def test_wrong_input_ends_with_a_message(llama_8b: str, arguments: list[str], message: str) -> None:
    result = plan("--model", llama_8b, *arguments)
    assert result.exit_code == 2
    assert message in result.output
