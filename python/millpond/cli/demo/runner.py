"""Carries a workload out: makes its calls when they are due, counts them, keeps the view fresh."""

from __future__ import annotations

import asyncio
from asyncio import Event, Future, Task
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any

from millpond.cli.demo.answer import Answer
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


class Run:
    """One run of a workload.

    Args:
        setting: What the report says was run.
        workload: The calls.
        ask: The cached function to call.
        view: What shows the figures while it runs.
        stop: Ends the run early, with its report.
        budget: Dollars after which it ends; None for no limit.
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
    ) -> None:
        self._setting = setting
        self._workload = workload
        self._ask = ask
        self._view = view
        self._stop = stop
        self._budget = budget
        self._tally = Tally(setting)
        self._open: set[Task[None]] = set()
        self._start = 0.0
        self._verdict: Future[str] = asyncio.get_running_loop().create_future()

    async def to_end(self, *watches: Coroutine[Any, Any, str]) -> Report:
        """Run until the traffic or the time ends, or something ends it early.

        Args:
            watches: Further reasons to end: the first that returns gives the reason, one that
                raises ends the run with its exception.

        Raises:
            CommandError: No call succeeds.
        """
        self._start = perf_counter()
        helpers = [
            self._helper(each)
            for each in (self._work(), self._redraw(), self._watch_stop(), *watches)
        ]
        try:
            self._view.start()
            await asyncio.wait({self._verdict}, timeout=self._setting.planned_seconds)
            ended = self._verdict.result() if self._verdict.done() else "time"
            elapsed = perf_counter() - self._start
        finally:
            unfinished = len(self._open)
            await self._cancel({*helpers, *self._open})
            self._view.stop()
        return self._report(elapsed=elapsed, ended=ended, unfinished=unfinished)

    async def _cancel(self, tasks: set[Task[Any]]) -> None:
        """End tasks and wait until they have ended."""
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def _helper(self, work: Coroutine[Any, Any, str]) -> Task[str]:
        """Start a task whose result or exception ends the run."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._conclude)
        return task

    def _conclude(self, task: Task[str]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._end(task.result())
        else:
            self._fail(error)

    def _end(self, reason: str) -> None:
        if not self._verdict.done():
            self._verdict.set_result(reason)

    def _fail(self, error: BaseException) -> None:
        if not self._verdict.done():
            self._verdict.set_exception(error)

    async def _watch_stop(self) -> str:
        await self._stop.wait()
        return "interrupted"

    async def _redraw(self) -> str:
        while True:
            await asyncio.sleep(self._view.interval)
            self._view.update(self._report(elapsed=perf_counter() - self._start))

    async def _work(self) -> str:
        """Make every call when it is due, then wait for those still open."""
        for number, call in enumerate(self._workload.plan):
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
