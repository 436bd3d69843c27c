"""Which tokens a layer sees, found out by changing one: its whole attention as it runs, mask and all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from longctx.check.config import Reach, eager_bytes, layer_reaches
from longctx.check.finding import Finding
from longctx.check.probe import LayerCall, probe
from longctx.lengths import format_length

_NAME = "what a layer sees"
_SHORT = 64
# Of the standard deviation of a layer's outputs: hidden tokens change nothing but the last bits.
_CHANGED = 1e-5
# Small states have small scores, so that every token that may be seen is seen a little.
_SCALE = 0.05


class _Seen(Exception):  # noqa: N818 - not an error: the forward has done what it was for
    """Ends a forward after the layer that was looked at."""


@torch.inference_mode()
def seen_by(model: Any, module: Any, ids: torch.Tensor, keys: list[int]) -> torch.Tensor:
    """Whether the outputs of an attention layer change with its input at positions `keys`: (tokens, keys)."""
    columns: list[torch.Tensor] = []

    def hook(module: Any, args: Any, arguments: dict[str, Any]) -> None:
        states = args[0] if args else arguments.pop("hidden_states")
        states = states * (_SCALE / states.std())
        handle.remove()
        before = module(states, *args[1:], **arguments)[0][0]
        noise = torch.randn(states.shape[-1], generator=torch.Generator().manual_seed(0)).to(states)
        for key in keys:
            other = states.clone()
            other[:, key] = noise * states.std()
            change = (module(other, *args[1:], **arguments)[0][0] - before).abs().amax(-1)
            columns.append(change > _CHANGED * before.std())
        raise _Seen

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with contextlib.suppress(_Seen):
            model(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=1)
    finally:
        handle.remove()
    return torch.stack(columns, 1)


def _modules(model: Any, reaches: list[Reach]) -> dict[Reach, Any]:
    """The first attention layer of every kind."""
    found: dict[Reach, Any] = {}

    def visit(call: LayerCall) -> None:
        found.setdefault(reaches[call.layer], call.module)

    probe(model, torch.zeros(1, 2, dtype=torch.long), [1], visit)
    return found


def check_sight(model: Any, config: Any, longest: int, free_bytes: int) -> Iterator[Finding]:
    """A finding for the first layer of every kind, with prompts that end just past its window or chunk."""
    reaches = layer_reaches(config)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    for reach, module in _modules(model, reaches).items():
        where = f"layer {module.layer_idx}, {reach}"
        num_tokens = (reach.size or _SHORT) + 4
        needed = eager_bytes(config, num_tokens)
        if num_tokens > longest:
            yield Finding(_NAME, where, "skipped", "", f"needs {num_tokens:,} tokens, over {format_length(longest)}")
        elif needed > free_bytes:
            yield Finding(_NAME, where, "skipped", "", f"own eager attention needs {needed / 2**30:.0f} GiB")
        elif model.dtype not in (torch.float32, torch.float64):
            yield Finding(_NAME, where, "skipped", "", f"small weights are lost in {model.dtype}: use --dtype float32")
        else:
            ids = torch.randint(vocabulary, (1, num_tokens), generator=torch.Generator().manual_seed(0))
            keys = sorted({0, 1, num_tokens // 2, num_tokens - 5, num_tokens - 4, num_tokens - 1})
            yield _finding(where, seen_by(model, module, ids, keys).cpu(), reach, keys)


def _finding(where: str, seen: torch.Tensor, reach: Reach, keys: list[int]) -> Finding:
    positions = torch.arange(len(seen))
    wanted = reach.visible(positions, torch.tensor(keys))
    if torch.equal(seen, wanted):
        pairs = f"{seen.numel():,} pairs"
        return Finding(_NAME, where, "passes", pairs, "a changed token changes what the config says, and nothing else")
    too_much = seen & ~wanted
    if bool(too_much.any()):
        query, index = (int(x) for x in too_much.nonzero()[0])
        meaning = f"model code: token {query:,} sees token {keys[index]:,}, the config says not to ({reach})"
        return Finding(_NAME, where, "differs", f"{int(too_much.sum()):,} pairs", meaning)
    query, index = (int(x) for x in (wanted & ~seen).nonzero()[0])
    meaning = f"token {query:,} does not see token {keys[index]:,}, or gives it no weight that could be measured"
    return Finding(_NAME, where, "warns", f"{int((wanted & ~seen).sum()):,} pairs", meaning)
