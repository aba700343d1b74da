"""The statistics of interleaved rounds: medians, spreads, ratios, and the chance of a difference.

Every contender of a row is measured in every round, so two contenders are compared round by round:
what disturbs the machine disturbs both, and the median of the per-round ratios is steadier than
the ratio of the medians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

# The median absolute deviation times this estimates the standard deviation of normal noise.
_MAD_TO_SIGMA = 1.4826


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two middle ones. REQUIRES: not empty."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def sigma(values: Sequence[float]) -> float:
    """Estimate the standard deviation from the median absolute deviation, so that a few
    disturbed rounds do not count."""
    centre = median(values)
    return _MAD_TO_SIGMA * median([abs(value - centre) for value in values])


def relative_spread(values: Sequence[float]) -> float:
    """Return `sigma` as a share of the median, 0 where the median is 0."""
    centre = median(values)
    return sigma(values) / abs(centre) if centre else 0.0


def ratios(ours: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return the ratio of each round. REQUIRES: the two were measured in the same rounds."""
    return [a / b if b else math.inf for a, b in zip(ours, base, strict=True)]


def change(old: Sequence[float], new: Sequence[float]) -> float:
    """Return by what share the median changed: 0.1 is ten percent more than before."""
    before, after = median(old), median(new)
    if before == 0:
        return 0.0 if after == 0 else math.inf
    return (after - before) / abs(before)


def by_pass(rounds: Sequence[float], passes: int) -> list[float]:
    """Return the median of each pass. REQUIRES: every pass has the same number of rounds."""
    each = len(rounds) // passes
    return [median(rounds[start : start + each]) for start in range(0, each * passes, each)]


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of their ranks."""
    ordered = sorted(values)
    first = {value: ordered.index(value) + 1 for value in set(values)}
    return [first[value] + (ordered.count(value) - 1) / 2 for value in values]


def chance(low: Sequence[float], high: Sequence[float]) -> float:
    """Return how likely `high` would lie above `low` at least as clearly, were both alike.

    The exact rank-sum test (Wilcoxon 1945, Mann and Whitney 1947): the share of all ways to split
    the pooled values that give `high` ranks as high. It assumes nothing of how the noise is
    distributed. Cost: the binomial coefficient; 252 splits for five against five.
    """
    ranks = _ranks([*low, *high])
    observed = sum(ranks[len(low) :])
    splits = [sum(split) for split in combinations(ranks, len(high))]
    return sum(split >= observed for split in splits) / len(splits)
