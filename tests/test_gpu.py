"""What is only real on a CUDA device; skipped elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zoo
from conftest import tiny_llama
from streaming import read

from longctx.engine.completion import Finisher
from longctx.engine.cost import ModelShape
from longctx.engine.engine import Engine
from longctx.engine.kernels import HeadShape, Kernel, choose_kernel
from longctx.engine.kv import StreamedCache
from longctx.engine.machine import Stated, found_machine
from longctx.engine.memory import Memory
from longctx.engine.selftest import stream
from longctx.engine.staging import Stager
from longctx.engine.tiers import Tiers
from longctx.errors import ModelError
from longctx.records import Document, Prompt

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_answers_on_the_device_are_those_of_generate_there() -> None:
    model = tiny_llama(700).to("cuda")
    device = torch.device("cuda")
    # Two of three blocks of a layer away from the device.
    memory = Memory(device, 40_000, 2**30)
    tiers = Tiers(memory, Stager(device), 256, Kernel("reference"))
    rng = np.random.default_rng(0)
    document = Document("d", rng.integers(2, 700, 2000).astype(np.int32))
    prompts = []
    for index, length in enumerate((500, 500, 1300, 2000)):
        tail = rng.integers(2, 700, 30).astype(np.int32)
        prompts.append(Prompt(str(index), document.token_ids[:3], document, length, tail, 12, r"(?!)"))
    wanted = {}
    finisher = Finisher(lambda ids: " ".join(map(str, ids)), frozenset({1}))
    for prompt in prompts:
        ids = torch.from_numpy(prompt.token_ids().astype("int64"))[None].cuda()
        model.set_attn_implementation("eager")
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0
        )
        completion = finisher.finish(output[0, ids.shape[1] :].tolist(), prompt)
        assert completion is not None
        wanted[prompt.id] = completion.text
    stream(model)
    engine = Engine(model, finisher.decode, ModelShape.from_config(model.config), 256, tiers)
    found = {answer.prompt_id: answer.text for answer in engine.answers(prompts, {})}
    assert found == wanted
    assert memory.usage("host").peak > 0
    assert memory.usage("host").now == 0


SHAPES = [
    HeadShape(32, 8, 128, 128),
    HeadShape(9, 3, 64, 64),
    HeadShape(16, 1, 96, 96),
    HeadShape(8, 8, 128, 128),
    HeadShape(4, 1, 256, 256),
    HeadShape(16, 16, 192, 128),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["fa4", "fa3", "fa2", "cudnn", "flash", "reference"])
def test_kernels_agree_with_the_reference_in_float64(name: str, shape: HeadShape) -> None:
    """Odd and whole lengths; choosing a kernel by name runs the comparison and raises for one that is wrong."""
    try:
        kernel = choose_kernel(name, [shape], torch.bfloat16, "cuda")
    except ModelError as error:
        if "not installed" in str(error):
            pytest.skip(str(error))
        raise
    assert kernel.name == name


@pytest.mark.parametrize("name", ["llama", "gemma 3", "llama 4", "deepseek v3", "gpt-oss", "mistral, window"])
def test_tiers_do_not_change_a_bit_there(name: str) -> None:
    model = zoo.make(name).to("cuda")
    stream(model)
    ids = torch.randint(3, zoo.VOCABULARY, (300,), generator=torch.Generator().manual_seed(0)).cuda()
    logits = []
    for device_bytes in (2**30, 30_000, 0):
        cuda = torch.device("cuda")
        tiers = Tiers(Memory(cuda, device_bytes, 2**30), Stager(cuda), 16, Kernel("reference"))
        logits.append(read(model, ids, StreamedCache(model.config, tiers), 40))
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_a_plan_finds_the_gpu_and_its_link() -> None:
    machine = found_machine(Stated(), "bfloat16", "cuda")
    assert machine.name == torch.cuda.get_device_name()
    assert 0 < machine.device_bytes < torch.cuda.get_device_properties(0).total_memory
    assert 1e9 < machine.host_rate < machine.device_rate < 1e14
    assert 1e12 < machine.flops_rate < 1e16
