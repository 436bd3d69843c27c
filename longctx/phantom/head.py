"""One attention head's weights, as entries that say which coordinate feeds which."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from longctx.phantom.layout import HEAD_DIM, LAYOUT, ROOT, SINK_PAIR
from longctx.phantom.profile import Wave

SCALE = math.sqrt(HEAD_DIM)
"""Scores are divided by it, so one side of a product is multiplied by it."""
_SINK_KEY = 16.0
_BOS_TO_ITSELF = 10.0


class Head:
    """Views of a layer's projections: query, key and value (HEAD_DIM, HIDDEN), output (HIDDEN, HEAD_DIM)."""

    def __init__(self, layer: Any) -> None:
        attention = layer.self_attn
        self.query: torch.Tensor = attention.q_proj.weight
        self.key: torch.Tensor = attention.k_proj.weight
        self.value: torch.Tensor = attention.v_proj.weight
        self.output: torch.Tensor = attention.o_proj.weight
        # Every layer has a sink at BOS. BOS looks at nothing but itself, so that nothing is stored there.
        self.key[SINK_PAIR, LAYOUT.bos] = _SINK_KEY / ROOT
        self.query[SINK_PAIR, LAYOUT.bos] = _BOS_TO_ITSELF * SCALE / ROOT

    def raise_bar(self, source: int, nats: float) -> None:
        """Add to the score of BOS `nats` for every 1 in the query's coordinate `source`."""
        self.query[SINK_PAIR, source] += nats * SCALE / _SINK_KEY

    def add_waves(self, query_source: int, key_source: int, waves: Iterable[Wave], key_size: float = 1.0) -> None:
        """Add waves of the distance to the score, for queries and keys that have a constant in these coordinates.

        `key_size` is the key's constant.
        """
        for pair, amplitude, phase in waves:
            self.key[pair, key_source] += 1 / key_size
            self.query[pair, query_source] += amplitude * SCALE * math.cos(phase)
            self.query[pair + HEAD_DIM // 2, query_source] += amplitude * SCALE * math.sin(phase)
