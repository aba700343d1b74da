"""What the demo measures, and the report that it makes of it.

A `Tally` counts calls as they end, in bounded memory; `Tally.report` turns the counts into a
`Report` at any time, which the views draw and `as_json` hands to machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from heapq import nsmallest

from millpond.cli.demo.answer import Answer
from millpond.cli.demo.histogram import Histogram
from millpond.cli.demo.sharing import Sharing

TIMELINE_BINS = 240
MAX_QUESTIONS = 20_000  # Counted at once; beyond it the rarest half is forgotten.
WITHOUT_CACHE_BASIS = "each call as long as the provider took for its answer"


class Outcome(Enum):
    """How an answered call was served."""

    HIT = "hit"
    MISS = "miss"
    COALESCED = "coalesced"


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Latencies in seconds; None where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class QuestionCount:
    """How often a question was answered, and how many of those calls were paid for."""

    question: str
    calls: int
    paid: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What was run: the part of the report that is known before the first call."""

    planned_seconds: float
    kind: str
    notes: tuple[str, ...]
    provider: str
    model: str
    speed: float
    rate: float
    seed: int


@dataclass(frozen=True, slots=True)
class Report:
    """The demo's figures.

    Rates are shares of the answered calls, latencies seconds, dollars None where a price is
    unknown. `hit_p50` is the median of the hits alone. `timeline` holds the share of avoided calls
    for each part of the planned time, None for a part without an answer. `engine` is the cache's
    own statistics; `sharing` is what there is to say of several processes.
    """

    setting: Setting
    ended: str
    elapsed_seconds: float
    calls: int
    hits: int
    misses: int
    coalesced: int
    failed: int
    unfinished: int
    last_error: str | None
    hit_rate: float
    calls_avoided: int
    avoided_rate: float
    with_cache: Quantiles
    without_cache: Quantiles
    hit_p50: float | None
    dollars_spent: float | None
    dollars_saved: float | None
    prompt_tokens_paid: int
    completion_tokens_paid: int
    top: tuple[QuestionCount, ...]
    timeline: tuple[float | None, ...]
    engine: Mapping[str, float]
    sharing: Sharing | None = None

    def as_json(self) -> dict[str, object]:
        """Return the report as plain JSON values, without what is only for drawing."""
        values = asdict(self)
        values["setting"]["notes"] = list(self.setting.notes)
        values["top"] = [asdict(count) for count in self.top]
        values["without_cache"]["basis"] = WITHOUT_CACHE_BASIS
        values["engine"] = dict(self.engine)
        del values["timeline"]
        if self.sharing is None:
            del values["sharing"]
        return values


class Tally:
    """Counts the calls of a run."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._failed = 0
        self._last_error: str | None = None
        self._with_cache = Histogram()
        self._without_cache = Histogram()
        self._hit = Histogram()
        self._spent = 0.0
        self._saved = 0.0
        self._prices_known = True
        self._prompt_tokens_paid = 0
        self._completion_tokens_paid = 0
        self._questions: dict[str, list[int]] = {}
        self._bins = [[0, 0] for _ in range(TIMELINE_BINS)]

    @property
    def answered(self) -> int:
        """Calls that got an answer."""
        return sum(self._outcomes.values())

    @property
    def failed(self) -> int:
        """Calls that raised."""
        return self._failed

    @property
    def last_error(self) -> str | None:
        """What the latest failed call raised."""
        return self._last_error

    @property
    def spent(self) -> float:
        """Dollars paid so far, as far as prices are known."""
        return self._spent

    def add(
        self, *, question: str, outcome: Outcome, answer: Answer, seconds: float, at: float
    ) -> None:
        """Count an answered call.

        Args:
            question: What was asked.
            outcome: How the call was served.
            answer: What it got.
            seconds: How long the caller waited.
            at: When the call began, in seconds since the start.
        """
        self._outcomes[outcome] += 1
        self._with_cache.add(seconds)
        self._without_cache.add(answer.seconds)
        if outcome is Outcome.HIT:
            self._hit.add(seconds)
        if answer.dollars is None:
            self._prices_known = False
        elif outcome is Outcome.MISS:
            self._spent += answer.dollars
        else:
            self._saved += answer.dollars
        if outcome is Outcome.MISS:
            self._prompt_tokens_paid += answer.usage.prompt_tokens
            self._completion_tokens_paid += answer.usage.completion_tokens
        self._count_question(question, paid=outcome is Outcome.MISS)
        share = at / self._setting.planned_seconds
        here = self._bins[min(TIMELINE_BINS - 1, max(0, int(share * TIMELINE_BINS)))]
        here[0] += 1
        here[1] += outcome is not Outcome.MISS

    def fail(self, error: BaseException) -> None:
        """Count a call that raised."""
        self._failed += 1
        self._last_error = f"{type(error).__name__}: {error}"[:300]

    def set_failed(self, count: int, last_error: str | None) -> None:
        """Take the failed calls as somebody else has counted them."""
        self._failed = count
        self._last_error = last_error

    def report(
        self,
        *,
        elapsed: float,
        ended: str = "running",
        unfinished: int = 0,
        engine: Mapping[str, float] | None = None,
        top: int = 10,
        sharing: Sharing | None = None,
    ) -> Report:
        """Return the figures so far.

        Args:
            elapsed: Seconds since the start.
            ended: Why the run ended, one word, or `running`.
            unfinished: Calls that were still open when it ended.
            engine: The cache's own statistics.
            top: How many questions to list.
            sharing: What there is to say of several processes.
        """
        hits = self._outcomes[Outcome.HIT]
        coalesced = self._outcomes[Outcome.COALESCED]
        answered = self.answered
        return Report(
            setting=self._setting,
            ended=ended,
            elapsed_seconds=elapsed,
            calls=answered + self._failed + unfinished,
            hits=hits,
            misses=self._outcomes[Outcome.MISS],
            coalesced=coalesced,
            failed=self._failed,
            unfinished=unfinished,
            last_error=self._last_error,
            hit_rate=hits / answered if answered else 0.0,
            calls_avoided=hits + coalesced,
            avoided_rate=(hits + coalesced) / answered if answered else 0.0,
            with_cache=_quantiles(self._with_cache),
            without_cache=_quantiles(self._without_cache),
            hit_p50=self._hit.quantile(0.5),
            dollars_spent=self._spent if self._prices_known else None,
            dollars_saved=self._saved if self._prices_known else None,
            prompt_tokens_paid=self._prompt_tokens_paid,
            completion_tokens_paid=self._completion_tokens_paid,
            top=self._top(top),
            timeline=tuple(avoided / seen if seen else None for seen, avoided in self._bins),
            engine=engine or {},
            sharing=sharing,
        )

    def _count_question(self, question: str, *, paid: bool) -> None:
        counts = self._questions.setdefault(question, [0, 0])
        counts[0] += 1
        counts[1] += paid
        if len(self._questions) > MAX_QUESTIONS:
            ranked = sorted(self._questions.items(), key=lambda item: item[1][0], reverse=True)
            self._questions = dict(ranked[: MAX_QUESTIONS // 2])

    def _top(self, count: int) -> tuple[QuestionCount, ...]:
        most = nsmallest(count, self._questions.items(), key=lambda item: (-item[1][0], item[0]))
        return tuple(QuestionCount(name, calls, paid) for name, (calls, paid) in most)


def _quantiles(histogram: Histogram) -> Quantiles:
    return Quantiles(histogram.quantile(0.5), histogram.quantile(0.95), histogram.quantile(0.99))
