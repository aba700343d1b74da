"""What there is to count where several processes share a Redis: tiers, workers, an outage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_QUESTIONS = 20_000  # Followed at once; what is asked first when there are as many is not.


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """The calls of one worker; `state` is that of its breaker: `closed` while it uses Redis."""

    calls: int
    memory_hits: int
    redis_hits: int
    paid: int
    failed: int
    state: str


@dataclass(frozen=True, slots=True)
class Once:
    """How many questions were paid for, and how many payments there were beyond one for each.

    A payment is one too many if another worker had paid for the question before, or was about to:
    `outage` while Redis was out (or the first payment was made then, so that Redis was not told),
    else `together` in the same moment, or `other`.
    """

    questions: int
    outage: int
    together: int
    other: int


@dataclass(frozen=True, slots=True)
class Outage:
    """When Redis was killed and started again, in seconds since the start, and what came of it.

    `calls`, `hits` and `failed` are those begun while it was out. `overhead` is how much longer
    than the provider the slowest paid call of these took. `back` is how long after its start the
    last worker used it again, None while one does not. `entries` are counted in it before the kill
    and after the start.
    """

    killed: float
    started: float | None
    back: float | None
    calls: int
    hits: int
    failed: int
    overhead: float | None
    entries: tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class Sharing:
    """The part of the report that is about several processes; `redis` says where it is."""

    redis: str
    up: bool
    workers: tuple[WorkerCount, ...]
    once: Once
    outage: Outage | None

    @property
    def memory_hits(self) -> int:
        """Hits that the memory of a worker answered."""
        return sum(worker.memory_hits for worker in self.workers)

    @property
    def redis_hits(self) -> int:
        """Hits that Redis answered, since another worker had paid or was about to."""
        return sum(worker.redis_hits for worker in self.workers)


@dataclass(slots=True)
class WorkerTally:
    """What a worker has told of itself so far."""

    calls: int = 0
    paid: int = 0
    failed: int = 0
    last_error: str | None = None
    hits: dict[str, int] = field(default_factory=dict[str, int])
    figures: dict[str, float] = field(default_factory=dict[str, float])
    state: str = "closed"
    outages: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def count(self) -> WorkerCount:
        """Return its part of the report."""
        return WorkerCount(
            calls=self.calls,
            memory_hits=self.hits.get("memory", 0),
            redis_hits=self.hits.get("redis", 0),
            paid=self.paid,
            failed=self.failed,
            state=self.state,
        )


def summed(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add up the statistics of several caches, name by name."""
    sums: dict[str, float] = {}
    for each in figures:
        for name, value in each.items():
            sums[name] = sums.get(name, 0) + value
    return sums


class Ledger:
    """Tells why a question was paid for more than once."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, float]] = {}
        self._again: list[tuple[float, float, float]] = []

    def paid(self, question: str, begin: float, end: float) -> None:
        """Note a payment: when its call began and ended, in seconds since the start."""
        known = self._first.get(question)
        if known is None:
            if len(self._first) < MAX_QUESTIONS:
                self._first[question] = begin, end
            return
        if begin < known[0]:  # Workers tell of their calls in any order.
            known, (begin, end) = (begin, end), known
            self._first[question] = known
        if len(self._again) < MAX_QUESTIONS:
            self._again.append((known[0], known[1], begin))

    def once(self, out: tuple[float, float] | None) -> Once:
        """Return the counts.

        Args:
            out: When Redis was out, from and to; None if it never was.
        """
        outage = together = 0
        for first_begin, first_end, begin in self._again:
            if out is not None and (
                out[0] <= begin <= out[1] or (first_end >= out[0] and first_begin <= out[1])
            ):
                outage += 1
            elif begin <= first_end:
                together += 1
        other = len(self._again) - outage - together
        return Once(questions=len(self._first), outage=outage, together=together, other=other)
