"""What measured answers allow to be said: intervals, differences, effective lengths, the size of a sweep.

Everything here takes numbers and gives records. A task's scores go in as `Scores` (`Scores.from_rows`):

    length_estimates, length_differences, run_differences     means over several cells, with intervals
    effective_lengths                                         under RULES, side by side
    effective_length_of_counts                                under RULER's, where counts are all that is known
    check_monotone                                            and a monotone fit, where it is not refuted
    worse_cells                                               cells worse than the rest of their length
    fit_curve                                                 of an adaptive sweep
    sweep_power                                               before a sweep; the rest of it in power.py

A trial is a cluster: its prompts share a document, or the filler of their documents.
"""

from longctx.statistics.bootstrap import estimate_means, length_estimates
from longctx.statistics.cells import CellTest, worse_cells
from longctx.statistics.curve import FittedCurve, fit_curve
from longctx.statistics.differences import Difference, length_differences, run_differences
from longctx.statistics.effective import EffectiveLength, LengthResult, effective_length_of_counts, effective_lengths
from longctx.statistics.intervals import Estimate, Interval, median_interval, wilson
from longctx.statistics.monotone import Monotone, check_monotone
from longctx.statistics.power import SweepPower, sweep_power
from longctx.statistics.rules import RULER_THRESHOLD, RULES, Rule
from longctx.statistics.scores import Scores

__all__ = [
    "RULER_THRESHOLD",
    "RULES",
    "CellTest",
    "Difference",
    "EffectiveLength",
    "Estimate",
    "FittedCurve",
    "Interval",
    "LengthResult",
    "Monotone",
    "Rule",
    "Scores",
    "SweepPower",
    "check_monotone",
    "effective_length_of_counts",
    "effective_lengths",
    "estimate_means",
    "fit_curve",
    "length_differences",
    "length_estimates",
    "median_interval",
    "run_differences",
    "sweep_power",
    "wilson",
    "worse_cells",
]
