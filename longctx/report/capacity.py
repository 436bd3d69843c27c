"""What is advertised, against what was measured: addressable, retrieves, reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from longctx.addressable import Addressable
from longctx.records import Row
from longctx.statistics import EffectiveLength
from longctx.tasks import task_classes
from longctx.tasks.base import Measures


@dataclass(frozen=True, slots=True)
class Capacity:
    """One bar: a length in tokens, and what is compatible with the samples that were taken."""

    name: str
    """advertised, addressable, or what a task measures."""
    task: str
    """Empty for what no single task measures."""
    value: int | None
    """Longest length that passes; None: not even the shortest, or not known."""
    low: int | None = None
    high: int | None = None
    tested: tuple[int, int] | None = None
    """Shortest and longest tested length; None where it is stated, not measured."""

    @property
    def label(self) -> str:
        """The value as a sentence has it: 8,192; at least 8,192; under 1,024."""
        return length_words(self.value, self.tested)


def length_words(value: int | None, tested: tuple[int, int] | None) -> str:
    """A length with what is not known of it: beyond the longest tested, or under the shortest."""
    if value is None:
        return "unknown" if tested is None else f"under {tested[0]:,}"
    return f"at least {value:,}" if tested is not None and value == tested[1] else f"{value:,}"


def measures(task: str) -> Measures | None:
    """What a task, with or without its options, tells about a model; None for one that is not known here."""
    classes = task_classes()
    name = task.partition(":")[0]
    return classes[name].measures if name in classes else None


def by_canaries(found: Addressable) -> Capacity:
    """The longest length that was shown to be read from end to end; it may have been taken up to a longer one."""
    tested = [reach.length for reach in found.reaches]
    return Capacity("addressable", "", found.reads, found.reads, found.accepts, (min(tested), max(tested)))


def by_answers(rows: Iterable[Row]) -> Capacity | None:
    """Without canaries: the longest length up to which every prompt was read whole and answered, rightly or not.

    A prompt that was cut, refused or did not fit is a row with that status. None without rows.
    """
    failed: defaultdict[int, int] = defaultdict(int)
    for row in rows:
        failed[row.length] += row.status != "ok"
    if not failed:
        return None
    value = None
    for length in sorted(failed):
        if failed[length]:
            break
        value = length
    return Capacity("addressable", "", value, value, value, (min(failed), max(failed)))


def effective(task: str, found: EffectiveLength) -> Capacity:
    """The bar of one task's effective length."""
    name = measures(task) or "passes"
    return Capacity(name, task, found.value, found.low, found.high, (found.lengths[0], found.lengths[-1]))
