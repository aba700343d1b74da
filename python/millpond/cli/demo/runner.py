"""Carries a workload out: makes its calls when they are due, and counts them."""

from __future__ import annotations

import asyncio
from asyncio import Event, Task
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import NamedTuple

from millpond.cli.demo.answer import Answer
from millpond.cli.demo.course import Course
from millpond.cli.demo.report import Outcome, Report, Setting, Tally
from millpond.cli.demo.service import CURRENT_CALL, Ask
from millpond.cli.demo.traffic import Workload
from millpond.cli.demo.views import View
from millpond.cli.failure import CommandError

MAX_OPEN_TASKS = 4096  # Calls at once; arrivals beyond wait, as in a server that accepts no more.
HOPELESS_FAILURES = 5  # Failures without one success after which the run gives up.
TOP_QUESTIONS = 60  # As many as a tall terminal shows.
ENGINE_FIGURES = (
    "hits",
    "misses",
    "currsize",
    "coalesced",
    "loads",
    "load_errors",
    "cost_spent",
    "cost_saved",
    "load_seconds",
)


class Lane(NamedTuple):
    """Which calls of a workload one process makes: each `of`-th, from `number` on."""

    number: int = 0
    of: int = 1


EVERY_CALL = Lane()


class Run(Course):
    """One run of a workload in this process.

    Args:
        setting: What the report says was run.
        workload: The calls.
        ask: The cached function to call.
        view: What shows the figures while it runs.
        stop: Ends the run early, with its report.
        budget: Dollars after which it ends; None for no limit.
        tally: What counts the calls.
        lane: Which of the calls are made here.
        start: When it begins, on `time.perf_counter`; None is when `to_end` is called.
    """

    def __init__(
        self,
        setting: Setting,
        workload: Workload,
        ask: Ask,
        view: View,
        *,
        stop: Event,
        budget: float | None = None,
        tally: Tally | None = None,
        lane: Lane = EVERY_CALL,
        start: float | None = None,
    ) -> None:
        super().__init__(setting, view, stop=stop, start=start)
        self._workload = workload
        self._ask = ask
        self._budget = budget
        self._tally = tally or Tally(setting)
        self._lane = lane
        self._open: set[Task[None]] = set()

    def _open_work(self) -> set[Task[None]]:
        return self._open

    async def _work(self) -> str:
        """Make every call when it is due, then wait for those still open."""
        for number, call in enumerate(self._workload.plan):
            if number % self._lane.of != self._lane.number:
                continue
            await asyncio.sleep(max(0.0, self._start + call.at - perf_counter()))
            while len(self._open) >= MAX_OPEN_TASKS:
                await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.get_running_loop().create_task(self._call(number, call.question))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        while self._open:
            await asyncio.wait(self._open)
        return "traffic"

    async def _call(self, number: int, question: str) -> None:
        CURRENT_CALL.set(number)  # This task's own context: nobody else sees it but its load.
        began = perf_counter()
        try:
            answer = await self._ask(question)
        except Exception as error:  # noqa: BLE001 (a failed call, of whatever kind, is counted)
            self._tally.fail(error)
            if self._tally.answered == 0 and self._tally.failed >= HOPELESS_FAILURES:
                last = self._tally.last_error
                self._fail(CommandError(f"{self._tally.failed} calls, none succeeded: {last}"))
            return
        ended = perf_counter()
        self._tally.add(
            question=question,
            outcome=outcome_of(answer, call=number, began=began),
            answer=answer,
            seconds=ended - began,
            at=began - self._start,
        )
        if self._budget is not None and self._tally.spent >= self._budget:
            self._end("budget")

    def _report(self, *, elapsed: float, ended: str = "running", unfinished: int = 0) -> Report:
        return self._tally.report(
            elapsed=elapsed,
            ended=ended,
            unfinished=unfinished,
            engine=engine_figures(self._ask),
            top=TOP_QUESTIONS,
        )


def outcome_of(answer: Answer, *, call: int, began: float) -> Outcome:
    """Tell from an answer how a call was served, without asking the cache.

    Args:
        answer: What the call got.
        call: The call's number.
        began: When it began, on `time.perf_counter`.
    """
    if answer.paid_by == call:
        return Outcome.MISS
    return Outcome.HIT if answer.landed_at <= began else Outcome.COALESCED


def engine_figures(ask: Ask) -> Mapping[str, float]:
    """Return the cache's own statistics, to hold against the demo's count."""
    info = ask.cache_info()
    figures: dict[str, float] = {}
    for name in ENGINE_FIGURES:
        with suppress(AttributeError):
            figures[name] = getattr(info, name)
    return figures
