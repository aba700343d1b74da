"""The statistics of interleaved rounds: medians, spreads, ratios and the noise of a difference.

Every contender of a row is measured in every round, so two contenders are compared round by round:
what disturbs the machine disturbs both, and the median of the per-round ratios is steadier than
the ratio of the medians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# The median absolute deviation times this estimates the standard deviation of normal noise.
_MAD_TO_SIGMA = 1.4826
# The standard error of a median of n normal samples is this times sigma / sqrt(n).
_MEDIAN_EFFICIENCY = 1.2533


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


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the median as a share of the median."""
    return _MEDIAN_EFFICIENCY * relative_spread(values) / math.sqrt(len(values))


def change(old: Sequence[float], new: Sequence[float]) -> float:
    """Return by what share the median changed: 0.1 is ten percent more than before."""
    before, after = median(old), median(new)
    if before == 0:
        return 0.0 if after == 0 else math.inf
    return (after - before) / abs(before)


def noise(old: Sequence[float], new: Sequence[float], *, z: float, floor: float) -> float:
    """Return the share of change that two such samples can show by chance.

    Args:
        old, new: the rounds of the two runs.
        z: how many standard errors of the difference count as chance.
        floor: the least share that is ever called a change. Two runs differ by a little more than
            their rounds tell: memory is laid out anew and strings hash otherwise.
    """
    return max(floor, z * math.hypot(standard_error(old), standard_error(new)))
