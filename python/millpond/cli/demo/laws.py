"""The laws that the demo's traffic and its local provider follow, and where the numbers come from.

Token counts: ten quantiles of the Azure LLM inference trace 2023, "conversation" (19,366 calls;
Azure Public Dataset, CC-BY-4.0), joined by straight lines in the logarithm. Prompt and completion
lengths are drawn independently: their rank correlation in the trace is 0.07.

Latency: a fixed part, a part for each prompt token and a part for each completion token, rounded
to lie between what Patel et al. ("Splitwise", ISCA 2024, who published the trace too) measured for
Llama 2 70B on four and on eight H100 GPUs, one request at a time: for 512, 1,024 and 2,048 prompt
tokens 53 to 60, 78 to 106 and 137 to 201 ms to the first token, then 29 to 31 ms for every further
one (medians, from data/perf_model.csv of their simulator, splitwise-sim). A log-normal factor of
spread 0.15, which is made up, stands for the load of the machine.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class QuantileTable:
    """A distribution given by a few quantiles, log-linear in between.

    Args:
        points: `(probability, value)`, both rising, from probability 0 to 1; values are positive.
    """

    points: tuple[tuple[float, int], ...]

    def at(self, probability: float) -> int:
        """Return the value at `probability` (0 to 1).

        Example:
            >>> QuantileTable(((0.0, 1), (1.0, 100))).at(0.5)
            10
        """
        inside = min(max(probability, 0.0), 1.0)
        upper = bisect_right(self.points, inside, key=lambda point: point[0])
        if upper == len(self.points):
            return self.points[-1][1]
        (left, low), (right, high) = self.points[upper - 1], self.points[upper]
        share = (inside - left) / (right - left)
        return round(math.exp((1 - share) * math.log(low) + share * math.log(high)))

    def draw(self, random: Random) -> int:
        """Draw one value."""
        return self.at(random.random())


PROMPT_TOKENS = QuantileTable(
    (
        (0.00, 2),
        (0.05, 181),
        (0.10, 207),
        (0.25, 396),
        (0.50, 1020),
        (0.75, 1189),
        (0.90, 2735),
        (0.95, 4083),
        (0.99, 4142),
        (1.00, 14050),
    )
)
COMPLETION_TOKENS = QuantileTable(
    (
        (0.00, 7),
        (0.05, 41),
        (0.10, 54),
        (0.25, 85),
        (0.50, 129),
        (0.75, 395),
        (0.90, 424),
        (0.95, 451),
        (0.99, 601),
        (1.00, 1000),
    )
)


@dataclass(frozen=True, slots=True)
class LatencyLaw:
    """How long a model takes to answer, in seconds, before any speed-up of the demo."""

    fixed: float = 0.020
    per_prompt_token: float = 0.000075
    per_completion_token: float = 0.030
    spread: float = 0.15

    def draw(self, prompt_tokens: int, random: Random) -> tuple[float, float]:
        """Return the seconds to the first token and the seconds for each further one."""
        load = random.lognormvariate(0.0, self.spread)
        first = (self.fixed + self.per_prompt_token * prompt_tokens) * load
        return first, self.per_completion_token * load
