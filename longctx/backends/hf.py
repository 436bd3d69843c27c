"""A transformers model in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from longctx.config import SweepConfig
from longctx.engine.cost import ITEM_BYTES
from longctx.engine.engine import Engine
from longctx.engine.loading import ModelCard, load_model
from longctx.environment import memory_bytes, num_cores
from longctx.records import Answer, Prompt, TokenIds

# Caches that a worker may hold at a time: of the prompt, and of the branch points above it.
_CACHES_PER_WORKER = 5


class HuggingFaceBackend:
    def __init__(self, card: ModelCard, config: SweepConfig) -> None:
        """Load the weights of `card` as the resolved `config` says; raises ModelError."""
        loaded = load_model(card, config.dtype, config.device, config.attention, config.trust_remote_code)
        self._engine = Engine(
            loaded.model,
            card.tokenizer.decode,
            card.shape,
            chunk=config.chunk,
            batch_tokens=config.batch_tokens,
            num_workers=_num_workers(config, card),
        )
        self.fingerprint: Mapping[str, Any] = loaded.fingerprint

    def answers(
        self, prompts: Sequence[Prompt], drafts: Mapping[str, TokenIds], on_progress: Callable[[int], None]
    ) -> Iterator[Answer]:
        return self._engine.answers(prompts, drafts, on_progress)


def _num_workers(config: SweepConfig, card: ModelCard) -> int:
    """One on a GPU. On a CPU as many as have something of their own to read, and as half the memory has room for."""
    if not config.device.startswith("cpu"):
        return 1
    documents = config.trials * len(config.task)
    jobs = documents if config.design == "packed" else documents * len(config.depths)
    kv_bytes = card.shape.kv_bytes(max(config.lengths), ITEM_BYTES[config.dtype])
    room = memory_bytes() // 2 // (_CACHES_PER_WORKER * kv_bytes)
    return max(1, min(num_cores(), jobs, room))
