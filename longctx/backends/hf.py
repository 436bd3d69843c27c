"""A transformers model in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from longctx.config import SweepConfig
from longctx.engine.engine import Engine
from longctx.engine.loading import ModelCard, load_model
from longctx.environment import num_cores
from longctx.records import Answer, Prompt, TokenIds


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
            num_workers=_num_workers(config),
        )
        self.fingerprint: Mapping[str, Any] = loaded.fingerprint

    def answers(
        self, prompts: Sequence[Prompt], drafts: Mapping[str, TokenIds], on_progress: Callable[[int], None]
    ) -> Iterator[Answer]:
        return self._engine.answers(prompts, drafts, on_progress)


def _num_workers(config: SweepConfig) -> int:
    """One on a GPU. On a CPU as many as have something of their own to read, so that none waits for another."""
    if not config.device.startswith("cpu"):
        return 1
    documents = config.trials * len(config.task)
    return min(num_cores(), documents if config.design == "packed" else documents * len(config.depths))
