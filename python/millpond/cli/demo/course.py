"""The course of a run: from its start to whatever ends it first, with a view kept fresh."""

from __future__ import annotations

import asyncio
from asyncio import Event, Future, Task
from collections.abc import Coroutine
from time import perf_counter
from typing import Any

from millpond.cli.demo.report import Report, Setting
from millpond.cli.demo.views import View


class Course:
    """A run whose work `_work` does and whose figures `_report` tells.

    Args:
        setting: What the report says was run.
        view: What shows the figures while it runs.
        stop: Ends the run early, with its report.
        start: When it begins, on `time.perf_counter`; None is when `to_end` is called.
    """

    def __init__(
        self, setting: Setting, view: View, *, stop: Event, start: float | None = None
    ) -> None:
        self._setting = setting
        self._view = view
        self._stop = stop
        self._given_start = start
        self._start = 0.0
        self._verdict: Future[str] = asyncio.get_running_loop().create_future()

    async def to_end(self, *watches: Coroutine[Any, Any, str]) -> Report:
        """Run until the work or the time ends, or something ends it early.

        Args:
            watches: Further reasons to end: the first that returns gives the reason, one that
                raises ends the run with its exception.

        Raises:
            CommandError: It cannot go on.
        """
        self._start = perf_counter() if self._given_start is None else self._given_start
        helpers = [
            self._helper(each)
            for each in (self._work(), self._redraw(), self._watch_stop(), *watches)
        ]
        try:
            self._view.start()
            left = self._start + self._setting.planned_seconds - perf_counter()
            await asyncio.wait({self._verdict}, timeout=left)
            ended = self._verdict.result() if self._verdict.done() else "time"
            elapsed = perf_counter() - self._start
        finally:
            open_work = self._open_work()
            unfinished = len(open_work)
            await self._cancel({*helpers, *open_work})
            self._view.stop()
        return self._report(elapsed=elapsed, ended=ended, unfinished=unfinished)

    def _open_work(self) -> set[Task[None]]:
        """Calls that are under way, to be ended with the run."""
        return set()

    async def _work(self) -> str:
        """Do what there is to do; return the reason for the end."""
        raise NotImplementedError

    def _report(self, *, elapsed: float, ended: str = "running", unfinished: int = 0) -> Report:
        """The figures so far."""
        raise NotImplementedError

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
