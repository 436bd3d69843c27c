"""A transformers model in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from longctx.config import KvBudget, Layout, SweepConfig
from longctx.engine.cost import ITEM_BYTES
from longctx.engine.disk import DiskStore
from longctx.engine.engine import Engine
from longctx.engine.loading import LoadedModel, ModelCard, load_model
from longctx.engine.machine import default_budgets
from longctx.engine.memory import NoSpaceError
from longctx.engine.ranks import ALONE, Ranks
from longctx.engine.tiers import Tiers
from longctx.environment import num_cores, num_processes_here, packages
from longctx.errors import ConfigError
from longctx.records import Answer, Prompt, TokenIds

# Caches that a worker may hold at a time: of the prompt, and of the branch points above it.
_CACHES_PER_WORKER = 5
# Tokens in a block. A GPU's kernels and copies are fastest over long ones; on a CPU a block is a branch's least memory.
_BLOCK_TOKENS = {"cpu": 4096, "cuda": 32_768}


class HuggingFaceBackend:
    """A context manager: it deletes what it has on disk, unless a run was stopped that can go on from there."""

    def __init__(
        self,
        card: ModelCard,
        config: SweepConfig,
        budget: KvBudget | None = None,
        layout: Layout | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Load the weights of `card` as the resolved `config` says; raises ModelError, or ConfigError for the disk."""
        budget, ranks = budget or KvBudget(), ranks or ALONE
        loaded = load_model(
            card,
            config.dtype,
            config.device,
            config.attention,
            config.rope,
            max(config.lengths),
            config.trust_remote_code,
            layout,
            ranks,
        )
        self.fingerprint: Mapping[str, Any] = loaded.fingerprint
        self.checks: Mapping[str, Any] = loaded.checks
        self._tiers = make_tiers(loaded, config, budget)
        self._engine = Engine(
            loaded.model,
            card.tokenizer.decode,
            card.shape,
            config.chunk,
            self._tiers,
            batch_tokens=config.batch_tokens,
            num_workers=_num_workers(config, card, self._tiers),
        )

    def __enter__(self) -> HuggingFaceBackend:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tiers.disk is not None:
            self._tiers.disk.close()

    @property
    def kv_bytes(self) -> dict[str, int]:
        """The most that keys and values have taken of memory, by tier, and all that was written to disk."""
        memory, disk = self._tiers.memory, self._tiers.disk
        taken = {"device": memory.usage("device").peak, "host": memory.usage("host").peak}
        return taken | ({} if disk is None else {"disk": disk.num_bytes_written})

    def answers(
        self, prompts: Sequence[Prompt], drafts: Mapping[str, TokenIds], on_progress: Callable[[int], None]
    ) -> Iterator[Answer]:
        return self._engine.answers(prompts, drafts, on_progress)


def make_tiers(loaded: LoadedModel, config: SweepConfig, budget: KvBudget) -> Tiers:
    """Tiers within `budget`, or within what is free here; raises ConfigError for a disk that cannot be used."""
    holders = loaded.holders
    ranks = holders.ranks
    device_bytes = {}
    for device in holders.devices:
        free, free_in_host = default_budgets(str(device))
        # All ranks find alike whether there is room, so that none waits for one that gave up.
        device_bytes[device] = ranks.smallest(free if budget.device_bytes is None else budget.device_bytes)
    host_bytes = ranks.smallest(free_in_host if budget.host_bytes is None else budget.host_bytes)
    block_tokens = budget.block_tokens or _BLOCK_TOKENS[holders.devices[0].type]
    disk = None
    if budget.disk is not None:
        identity = {
            "model": dict(loaded.fingerprint),
            "packages": packages(),
            "chunk": config.chunk,
            "owner": budget.owner,
            "rank": [ranks.index, ranks.count],  # each has a part of its own
        }
        try:
            disk = DiskStore(budget.disk, json.dumps({**identity, "block": block_tokens}, sort_keys=True))
        except NoSpaceError as error:
            raise ConfigError(f"--kv-disk: {error}.") from error
    return Tiers.over(holders, device_bytes, host_bytes, block_tokens, loaded.kernel, disk)


def _num_workers(config: SweepConfig, card: ModelCard, tiers: Tiers) -> int:
    """One on a GPU, and where ranks go in step. On a CPU as many as have something of their own to read, and memory."""
    if not config.device.startswith("cpu") or tiers.ranks.count > 1:
        return 1
    documents = config.trials * len(config.task)
    jobs = documents if config.design == "packed" else documents * len(config.depths)
    kv_bytes = card.shape.kv_bytes(max(config.lengths), ITEM_BYTES[config.dtype])
    room = tiers.memory.usage("device").budget // (_CACHES_PER_WORKER * kv_bytes)
    return max(1, min(num_cores() // num_processes_here(), jobs, room))
