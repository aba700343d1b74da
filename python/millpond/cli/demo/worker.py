"""One of several processes that share a Redis: `python -m millpond.cli.demo.worker`.

It reads one line of JSON, its `Job`, says that it is ready, reads another with the moment to begin,
makes its share of the calls, and writes what came of them as lines of JSON. When its standard input
closes it ends early: a parent that dies takes it along.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from millpond.cli.demo.answer import Answer
from millpond.cli.demo.pricing import Pricer
from millpond.cli.demo.report import Outcome, Report, Setting, Tally
from millpond.cli.demo.runner import Lane, Run, engine_figures
from millpond.cli.demo.service import NAMESPACE, Ask, make_ask
from millpond.cli.demo.settings import Settings
from millpond.cli.failure import CommandError
from millpond.errors import MillpondError

if TYPE_CHECKING:
    from millpond import Engine

SECONDS_BETWEEN = 0.2  # Two lines of what came of the calls.


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do.

    Args:
        settings: The options of the demo.
        lane: Which of the calls are its own.
        provider: The URL of the provider.
        redis: The URL of the Redis that all share.
        speed: How many times faster than in life the provider is.
    """

    settings: Settings
    lane: Lane
    provider: str
    redis: str
    speed: float

    def as_line(self) -> str:
        """Write it for `from_line`."""
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_line(line: str) -> Job:
        """Read what `as_line` wrote."""
        values = json.loads(line)
        settings = values["settings"]
        for name in ("trace", "svg"):
            settings[name] = None if settings[name] is None else Path(settings[name])
        values |= {"settings": Settings(**settings), "lane": Lane(*values["lane"])}
        return Job(**values)


class Log(Tally):
    """A tally that also keeps what is to be told of each call."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.calls: list[list[object]] = []

    def add(
        self, *, question: str, outcome: Outcome, answer: Answer, seconds: float, at: float
    ) -> None:
        super().add(question=question, outcome=outcome, answer=answer, seconds=seconds, at=at)
        usage = [answer.usage.prompt_tokens, answer.usage.completion_tokens]
        price = [answer.dollars, answer.seconds]
        self.calls.append([question, outcome.value, seconds, at, *price, *usage])


class Teller:
    """The view of a worker: lines of JSON on standard output."""

    interval = SECONDS_BETWEEN

    def __init__(self, log: Log, mill: Engine, ask: Ask) -> None:
        self._log = log
        self._mill = mill
        self._ask = ask

    def start(self) -> None:
        """Nothing to prepare."""

    def stop(self) -> None:
        """Nothing to restore."""

    def update(self, report: Report) -> None:
        """Tell what came of the calls since the last time."""
        calls, self._log.calls = self._log.calls, []
        tier = self._mill.stats()["redis"]
        now = perf_counter()
        tell(
            calls=calls,
            failed=report.failed,
            last_error=report.last_error,
            hits=dict(self._ask.cache_info().hits_by_tier),
            figures=dict(engine_figures(self._ask)),
            state=tier["state"],
            outages=[
                [now - one["ago"], now - one["ago"] + one["seconds"]]
                for one in tier["outages"]["recent"]
            ],
        )

    def finish(self, report: Report) -> None:
        """Tell the rest, and that this is the end."""
        self.update(report)
        tell(ended=report.ended, unfinished=report.unfinished)


def tell(**values: object) -> None:
    """Write one line to the parent."""
    print(json.dumps(values, separators=(",", ":")), flush=True)


def engine(redis: str) -> Engine:
    """The Engine of a worker, or of who looks after them: memory, and the Redis."""
    from millpond import Engine

    return Engine(redis=redis, database=False, namespace=NAMESPACE)


async def work(job: Job) -> None:
    """Make the calls of a job."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    from millpond.cli.demo.session import make_setting, make_workload

    stop = asyncio.Event()
    workload = make_workload(job.settings)
    pricer = Pricer(job.settings.model)
    # A proxy named in the environment must not see what goes to loopback.
    transport = DefaultAsyncHttpxClient(trust_env=False)
    async with (
        engine(job.redis) as mill,
        AsyncOpenAI(base_url=job.provider, api_key="local", http_client=transport) as client,
    ):
        ask = make_ask(
            client, workload, model=job.settings.model, pricer=pricer, with_cache=mill.with_cache
        )
        setting = make_setting(job.settings, workload, job.provider, job.speed)
        await mill.ainvalidate(tags="ready")  # Connects, which no call is to wait for.
        tell(ready=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line:
            return
        loop = asyncio.get_running_loop()
        threading.Thread(target=_stop_at_eof, args=(loop, stop), daemon=True).start()
        log = Log(setting)
        view = Teller(log, mill, ask)
        start = float(json.loads(line)["start"])
        run = Run(setting, workload, ask, view, stop=stop, tally=log, lane=job.lane, start=start)
        view.finish(await run.to_end())


def _stop_at_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The descriptor itself: a thread inside sys.stdin would hold its lock at shutdown.
    with suppress(OSError):
        os.read(0, 1)
    with suppress(RuntimeError):  # The loop may have ended first.
        loop.call_soon_threadsafe(stop.set)


def main() -> int:
    """Run one worker as a program."""
    # The terminal sends Ctrl-C to the whole group; the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.readline()
    if not line:
        return 0
    # The report tells of the outage; lines in between would tear the screen apart.
    logging.getLogger("millpond").addHandler(logging.NullHandler())
    try:
        asyncio.run(work(Job.from_line(line)))
    except (CommandError, MillpondError) as error:
        tell(error=str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
