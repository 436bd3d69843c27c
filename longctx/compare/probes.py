"""The prompts of a comparison: needles, which have a right answer, and texts to go on with, which have none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from longctx.compare.records import Probe
from longctx.config import SweepConfig
from longctx.documents.build import load_trial
from longctx.documents.frame import Frame
from longctx.documents.isolated import build_isolated
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import Tokenizer
from longctx.haystack import get_source
from longctx.records import Item, Sample
from longctx.samples import make_samples
from longctx.scoring import NEVER_STOP
from longctx.store import ids_digest

_NUM_DEPTHS = 5
_ROOM = 24
_INSTRUCTION = "Read the text."
_GO_ON = Item((), "Write one sentence of your own that could come next.", "", targets=("The",), support=())


def make_probes(config: SweepConfig, tokenizer: Tokenizer, num_items: int) -> list[Probe]:
    """`num_items` probes for each length of `config`, at depths in turn; raises BudgetError for a short length."""
    depths = tuple(i / (_NUM_DEPTHS - 1) for i in range(_NUM_DEPTHS))
    trials = -(-num_items // _NUM_DEPTHS)
    plan = dataclasses.replace(config, depths=depths, trials=trials, design="isolated", controls=False, canaries="no")
    by_length = dict.fromkeys(config.lengths, 0)
    probes = []
    for sample in make_samples(plan, tokenizer):
        length = sample.cell.length
        if by_length[length] == num_items:
            continue
        by_length[length] += 1
        seed = sample.cell.trial * _NUM_DEPTHS + depths.index(sample.cell.depth)
        probes.append(Probe(length, sample, _open_ended(plan, tokenizer, length, seed).prompt))
    return sorted(probes, key=lambda probe: probe.length)


def probes_digest(probes: Iterable[Probe]) -> str:
    """Hash of all prompts: it changes when code, word lists or a template's date make others of the same config."""
    return ids_digest(name for probe in probes for name in (probe.question.id, probe.open_ended.id))


def _open_ended(config: SweepConfig, tokenizer: Tokenizer, length: int, number: int) -> Sample:
    """Text of its own for every probe: a source cannot be told apart twice by the same words."""
    template = choose_template(config.template, _INSTRUCTION, tokenizer)
    frame = Frame("compare", "isolated", config.seed, tokenizer, template, _ROOM, NEVER_STOP)
    trial = load_trial(get_source(config.haystack), config.seed, number, tokenizer, max(config.lengths))
    return build_isolated(frame, trial, length, 0.0, _GO_ON)
