"""The demo's traffic: who asks what, and when.

A `Workload` is a seeded plan of calls that the runner carries out; `help_line_workload` makes the
default one and `trace.py` makes one from a recorded trace.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import accumulate
from random import Random

from millpond.cli.demo.laws import PROMPT_TOKENS
from millpond.cli.demo.questions import ONE_OFF, QUESTIONS

ZIPF_EXPONENT = 1.0
ONE_OFF_SHARE = 0.15  # Of the calls: personal questions, asked once, which no cache can save.
BURST_SHARE = 0.20  # Of the calls: many people asking the same within a moment.
BURST_SIZE = 8  # Calls in a burst, on average (geometric).
BURST_SECONDS = 0.4  # How long a burst lasts.


@dataclass(frozen=True, slots=True)
class Call:
    """One call to make: `at` seconds after the start, somebody asks `question`."""

    at: float
    question: str


@dataclass(frozen=True, slots=True)
class Shape:
    """How long a call is; `completion_tokens` None leaves the length to the provider."""

    prompt_tokens: int
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """A plan of calls.

    Args:
        kind: One word for machines: `zipf`, `csv-trace` or `jsonl-trace`.
        notes: Sentences for the report: what the traffic is, and what about it is not real.
        seconds: When the last call is due.
        rate: Mean calls per second.
        plan: The calls in order of time; iterating again begins again.
        speed: How many times faster than in life the provider should answer.
        shapes: Lengths of questions that were planned; others follow the published law.
        seed: Decides the lengths of questions without a planned shape.
    """

    kind: str
    notes: tuple[str, ...]
    seconds: float
    rate: float
    plan: Iterable[Call]
    speed: float
    shapes: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    seed: int = 0

    def shape(self, question: str) -> Shape:
        """Return how long `question` is: as planned, else drawn from the law, always the same."""
        planned = self.shapes.get(question)
        if planned is not None:
            return planned
        return Shape(PROMPT_TOKENS.draw(Random(f"{self.seed}/{question}")))


class Zipf:
    """Draws ranks 0, 1, 2 … with probability proportional to 1 / (rank + 1) ** exponent."""

    def __init__(self, count: int, exponent: float = ZIPF_EXPONENT) -> None:
        self._upto = list(accumulate(1.0 / (rank**exponent) for rank in range(1, count + 1)))

    def draw(self, random: Random) -> int:
        """Return a rank. O(log count)."""
        return bisect_left(self._upto, random.random() * self._upto[-1])


@dataclass(frozen=True, slots=True)
class HelpLine:
    """Poisson arrivals at a help line, with bursts.

    Single calls ask a Zipf-distributed question of the list or, now and then, a personal one.
    A burst is one question of the list asked by several people within a moment.
    """

    seconds: float
    rate: float
    seed: int

    def __iter__(self) -> Iterator[Call]:
        ranked = list(QUESTIONS)
        Random(f"{self.seed}/ranks").shuffle(ranked)
        yield from merge(self._singles(ranked), self._bursts(ranked), key=lambda call: call.at)

    def _singles(self, ranked: list[str]) -> Iterator[Call]:
        random = Random(f"{self.seed}/singles")
        zipf = Zipf(len(ranked))
        one_off = ONE_OFF_SHARE / (1 - BURST_SHARE)  # Bursts ask none, so the rest ask more.
        for at in _poisson(self.rate * (1 - BURST_SHARE), self.seconds, random):
            if random.random() < one_off:
                number = random.randrange(100_000, 1_000_000)
                yield Call(at, random.choice(ONE_OFF).format(number=number))
            else:
                yield Call(at, ranked[zipf.draw(random)])

    def _bursts(self, ranked: list[str]) -> Iterator[Call]:
        """Yield the calls of all bursts in order of time; bursts may overlap."""
        random = Random(f"{self.seed}/bursts")
        waiting: list[Call] = []
        for start in _poisson(self.rate * BURST_SHARE / BURST_SIZE, self.seconds, random):
            waiting.sort(key=lambda call: call.at)
            while waiting and waiting[0].at <= start:
                yield waiting.pop(0)
            question = random.choice(ranked)
            latest = min(start + BURST_SECONDS, self.seconds)
            size = 1 + int(math.log(1.0 - random.random()) / math.log(1 - 1 / BURST_SIZE))
            waiting += [Call(random.uniform(start, latest), question) for _ in range(size)]
        yield from sorted(waiting, key=lambda call: call.at)


def help_line_workload(*, seconds: float, rate: float, seed: int, speed: float) -> Workload:
    """Return the demo's own traffic: a help line with a long tail and bursts.

    Args:
        seconds: How long calls arrive.
        rate: Mean calls per second.
        seed: The same seed gives the same calls.
        speed: How many times faster than in life the provider answers.
    """
    note = (
        f"A help line: {len(QUESTIONS)} questions by a Zipf law of exponent {ZIPF_EXPONENT:g}, "
        f"{ONE_OFF_SHARE:.0%} of the calls personal (asked once), {BURST_SHARE:.0%} in bursts; "
        "lengths follow quantiles of the Azure LLM inference trace."
    )
    plan = HelpLine(seconds=seconds, rate=rate, seed=seed)
    return Workload(
        kind="zipf",
        notes=(note,),
        seconds=seconds,
        rate=rate,
        plan=plan,
        speed=speed,
        seed=seed,
    )


def _poisson(rate: float, seconds: float, random: Random) -> Iterator[float]:
    """Yield the times of a Poisson process of `rate` a second, up to `seconds`."""
    at = random.expovariate(rate)
    while at < seconds:
        yield at
        at += random.expovariate(rate)
