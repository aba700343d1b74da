"""A histogram for latencies: any number of observations in bounded memory, quantiles within 1 %."""

from __future__ import annotations

import math

GROWTH = 1.02  # Each bucket is 2 % wider than the one before, so its middle is within 1 %.
SMALLEST = 1e-8  # Seconds; what is below counts as this.
LARGEST = 1e6  # Seconds; what is above counts as this.


class Histogram:
    """Counts observations in buckets of geometric width; at most 1,629 buckets.

    Example:
        >>> latencies = Histogram()
        >>> latencies.add(0.25)
        >>> round(latencies.quantile(0.5), 2)
        0.25
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def add(self, seconds: float) -> None:
        """Count one observation."""
        inside = min(max(seconds, SMALLEST), LARGEST)
        bucket = math.floor(math.log(inside) / math.log(GROWTH))
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self._total += 1

    def quantile(self, probability: float) -> float | None:
        """Return the observation at `probability` (0 to 1) within 1 %; None where there is none.

        The observation of rank ceil(probability x count), counted from 1, as statisticians'
        "inverted distribution function" does.
        """
        if self._total == 0:
            return None
        wanted = max(1, math.ceil(probability * self._total))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return float(GROWTH ** (bucket + 0.5))
        raise AssertionError("the buckets hold every observation")
