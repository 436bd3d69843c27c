"""The machine that a plan is for: this one, found out, or one that is stated."""

from __future__ import annotations

import math
from dataclasses import dataclass

from longctx.engine.placement import FREE_SHARE, Machine
from longctx.environment import available_bytes, num_cores, num_processes_here
from longctx.errors import ConfigError

# Of each GPU, what is for neither weights nor keys and values: the CUDA context and kernels (1 GB), the activations of
# a chunk (3 GB for 32k tokens of an 8B model), blocks on their way (0.5 GB), and what the allocator splits off.
RESERVE_BYTES = 6 * 10**9
# Of an H100, for a stated machine that says nothing else.
_HBM_RATE = 3_350 * 10**9


@dataclass(frozen=True, slots=True)
class Stated:
    """What a person says of a machine, in bytes and bytes a second of one GPU; None for what was not said."""

    gpus: int | None = None
    tflops: float | None = None
    gpu_memory: int | None = None
    host_memory: int | None = None
    disk: int | None = None
    pcie: int | None = None
    hbm: int | None = None
    nvme: int | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether another machine than this one is meant."""
        return any(value is not None for value in (self.gpus, self.gpu_memory, self.host_memory, self.tflops))

    def require(self, *names: str) -> None:
        """Raises ConfigError that lists which of these were not said."""
        missing = ["--" + name.replace("_", "-") for name in names if getattr(self, name) is None]
        if missing:
            raise ConfigError(f"The machine is not described whole: add {' and '.join(missing)}.")


def stated_machine(stated: Stated) -> Machine:
    """The machine that is described; raises ConfigError if something is missing."""
    beside = stated.host_memory is not None or stated.disk is not None
    stated.require(
        "gpu_memory", "tflops", *(["pcie"] if beside else []), *(["nvme"] if stated.disk is not None else [])
    )
    assert stated.gpu_memory is not None
    assert stated.tflops is not None
    if not 0 < stated.tflops < math.inf:
        raise ConfigError(f"tflops is {stated.tflops}; it must be a number above 0.")
    gpus = 1 if stated.gpus is None else stated.gpus
    return Machine(
        name=f"{gpus} GPU{'s' * (gpus > 1)} of {stated.gpu_memory / 2**30:.4g} GiB{' together' * (gpus > 1)}",
        source="as stated" if stated.hbm else "as stated, device memory as an H100's",
        device_bytes=gpus * max(0, stated.gpu_memory - RESERVE_BYTES),
        host_bytes=stated.host_memory or 0,
        disk_bytes=stated.disk or 0,
        flops_rate=gpus * stated.tflops * 1e12,
        device_rate=gpus * (stated.hbm or _HBM_RATE),
        host_rate=gpus * (stated.pcie or math.inf),
        disk_rate=stated.nvme or math.inf,
    )


def free_bytes(device: str) -> int:
    """Memory that tensors on this device can still have."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0]) if device.startswith("cuda") else available_bytes()


def default_budgets(device: str) -> tuple[int, int]:
    """Bytes for keys and values on the device, and in host memory beside a GPU: a CPU has no other than its own.

    Of host memory each of the processes that a launcher started here has its share.
    """
    host = int(available_bytes() * FREE_SHARE) // num_processes_here()
    return (int(free_bytes(device) * FREE_SHARE), host) if device.startswith("cuda") else (host, 0)


def found_machine(stated: Stated, dtype: str, device: str) -> Machine:
    """This machine, with its one `device`, as it is just now; rates that were not stated are measured.

    Raises ConfigError for a disk without a rate.
    """
    import torch

    from longctx.engine.speed import copy_rate, memory_rate, prefill_rate

    if stated.disk is not None:
        stated.require("nvme")
    on_gpu = device != "cpu"
    device_bytes, host_bytes = default_budgets(device)
    return Machine(
        name=torch.cuda.get_device_name(device) if on_gpu else f"{num_cores()} cores",
        source="measured just now where not stated",
        device_bytes=device_bytes,
        host_bytes=host_bytes,
        disk_bytes=stated.disk or 0,
        flops_rate=prefill_rate(dtype, device),
        device_rate=stated.hbm or memory_rate(device),
        host_rate=stated.pcie or (copy_rate(device) if on_gpu else math.inf),
        disk_rate=stated.nvme or math.inf,
    )
