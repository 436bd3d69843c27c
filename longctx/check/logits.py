"""Whether what leaves the model is finite, and capped where its config says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from longctx.check.finding import Finding


@torch.inference_mode()
def check_logits(model: Any, config: Any) -> Iterator[Finding]:
    """A finding about 64 random tokens, and one about the cap of the logits where the config has one."""
    head, heads_out = model.get_output_embeddings(), []
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(vocabulary, (1, 64), generator=torch.Generator().manual_seed(0)).to(model.device)
    hook = head.register_forward_hook(lambda _module, _given, out: heads_out.append(out))
    try:
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
    num_bad = int((~torch.isfinite(logits)).sum())
    verdict, meaning = ("differs", "model: NaN or infinite logits") if num_bad else ("passes", "all are finite")
    yield Finding("finite logits", "64 random tokens", verdict, f"{num_bad} not finite", meaning)  # type: ignore[arg-type]
    cap = getattr(config, "final_logit_softcapping", None)
    if not cap:
        return
    off = float((logits.float() - cap * torch.tanh(heads_out[0].float() / cap)).abs().max() / logits.float().std())
    if off <= 0.05:
        yield Finding("cap of the logits", f"{cap:g}", "passes", f"{off:.1e} std", "as the config says")
    else:
        yield Finding("cap of the logits", f"{cap:g}", "differs", f"{off:.1e} std", "model code: not the config's cap")
