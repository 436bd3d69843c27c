"""The processes that hold one model together: who they are, what they agree on, and one softmax over all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from longctx.errors import ConfigError

if TYPE_CHECKING:
    from longctx.engine.partial import Partial

_T = TypeVar("_T")
# Weights are read by all, and a rank with a slower disk keeps the others waiting.
_TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process group seen from one of its processes; by default a process by itself."""

    index: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that talks and writes."""
        return self.index == 0

    def agree(self, value: _T) -> _T:
        """Rank 0's value, on every rank."""
        if self.count == 1:
            return value
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def smallest(self, number: int) -> int:
        """The smallest of all ranks' numbers."""
        return min(self._gathered(number))

    def all(self, fine: bool) -> bool:
        """Whether it is so on every rank."""
        return all(self._gathered(fine))

    def common(self, names: Iterable[str]) -> frozenset[str]:
        """The names that every rank has."""
        return frozenset.intersection(*self._gathered(frozenset(names)))

    def _gathered(self, value: _T) -> list[_T]:
        """The values of all ranks."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        values = [value] * self.count
        dist.all_gather_object(values, value)
        return values

    def merged(self, mine: Partial) -> Partial:
        """Attention to the keys of all ranks, from each rank's own part; the same bits on every rank."""
        import torch
        import torch.distributed as dist

        from longctx.engine.partial import Merged, Partial

        message = torch.cat([mine.out, mine.lse.unsqueeze(-1)], -1).contiguous()
        messages = [torch.empty_like(message) for _ in range(self.count)]
        dist.all_gather(messages, message)
        merged = Merged()
        for found in messages:
            merged.add(Partial(found[..., :-1], found[..., -1]))
        return merged.result()


ALONE = Ranks()


def join_ranks(device: str, environment: Mapping[str, str] = os.environ) -> Ranks:
    """Join the process group that torchrun describes, over NCCL for GPUs and gloo for CPUs.

    Raises ConfigError where no launcher started several processes, or where transformers would choose other devices.
    """
    if int(environment.get("WORLD_SIZE", "1")) < 2:
        raise ConfigError("--parallel tensor needs several processes: torchrun --nproc-per-node 2 -m longctx sweep ...")
    import torch
    import torch.distributed as dist

    own = f"cuda:{environment.get('LOCAL_RANK')}" if torch.cuda.is_available() else "cpu"
    if device != own:
        raise ConfigError(f"--parallel tensor gives this process {own}, not {device}; leave --device out.")
    if own != "cpu":
        torch.cuda.set_device(torch.device(own))
    if not dist.is_initialized():
        gpu = None if own == "cpu" else torch.device(own)
        dist.init_process_group("gloo" if own == "cpu" else "nccl", timeout=_TIMEOUT, device_id=gpu)
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave_ranks() -> None:
    """Take down the process group, if there is one."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
