"""Runs several workers that share a Redis, adds up what they tell, and has the Redis fail."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio import Event
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Any

from millpond.cli.demo.answer import Answer, TokenUsage
from millpond.cli.demo.course import Course
from millpond.cli.demo.process import local_provider
from millpond.cli.demo.redis_process import LocalRedis, local_redis
from millpond.cli.demo.report import Outcome, Report, Setting, Tally
from millpond.cli.demo.runner import TOP_QUESTIONS, Lane
from millpond.cli.demo.service import NAMESPACE
from millpond.cli.demo.session import make_setting, provider_death
from millpond.cli.demo.settings import DEFAULT_WORKERS, Settings
from millpond.cli.demo.sharing import Ledger, Outage, Sharing, WorkerTally, summed
from millpond.cli.demo.traffic import Workload
from millpond.cli.demo.views import View
from millpond.cli.demo.worker import Job, engine
from millpond.cli.failure import CommandError
from millpond.errors import TierError

KILL_AT, START_AT = 0.4, 0.55  # Shares of the planned time.
READY_SECONDS = 60.0
STOP_SECONDS = 5.0
LONGEST_LINE = 1 << 22
COUNT_SECONDS = 5.0


async def run_shared(
    settings: Settings, workload: Workload, view: View, stop: asyncio.Event
) -> Report:
    """Run the demo in several processes.

    Raises:
        CommandError: There is no Redis, or a process ends that should not.
    """
    if settings.redis:
        await asyncio.to_thread(_begin_anew, settings.redis)
        return await _run(settings, workload, view, stop, settings.redis, None)
    async with local_redis() as redis:
        # What it imports should not take from the run the time to do so.
        await asyncio.to_thread(count_entries, redis.url)
        return await _run(settings, workload, view, stop, redis.url, redis)


async def _run(
    settings: Settings,
    workload: Workload,
    view: View,
    stop: asyncio.Event,
    url: str,
    redis: LocalRedis | None,
) -> Report:
    speed = settings.speed or workload.speed
    count = settings.workers or DEFAULT_WORKERS
    if not settings.json:
        processes = "1 worker" if count == 1 else f"{count} workers"
        print(f"millpond demo: starting {processes} on the Redis at {_where(url)}", flush=True)
    async with local_provider(seed=settings.seed, speed=speed) as provider:
        jobs = [
            Job(settings, Lane(index, count), provider.url, url, speed) for index in range(count)
        ]
        async with started(jobs) as workers:
            setting = make_setting(
                settings, workload, f"a local process, sped up {speed:.3g} times", speed
            )
            fleet = Fleet(setting, workers, view, stop=stop, where=_where(url), redis=redis)
            watches: list[Coroutine[Any, Any, str]] = [provider_death(provider)]
            if redis is not None:
                watches.append(fleet.outage(redis))
            return await fleet.to_end(*watches)


def _begin_anew(url: str) -> None:
    """Make misses of what an earlier demo left in a Redis.

    Raises:
        CommandError: It cannot be used.
    """
    # One line says that it cannot be reached.
    logging.getLogger("millpond").addHandler(logging.NullHandler())
    with engine(url) as mill:
        if not mill.invalidate(namespace=NAMESPACE).done:
            raise CommandError(f"--redis: {_where(url)} cannot be used; is it running?")


def _where(url: str) -> str:
    """The address in a URL, without its password."""
    from millpond.io.redis_url import RedisSettings

    return RedisSettings.from_url(url).where


def count_entries(url: str) -> int:
    """How many answers a Redis holds.

    Raises:
        TierError: It does not answer.
    """
    from millpond.io.deadline import Deadline
    from millpond.tiers.redis import RedisTier

    tier = RedisTier(url, namespace=NAMESPACE, timeout=COUNT_SECONDS)
    try:
        deadline = Deadline.after(COUNT_SECONDS)
        return len({key for keys in tier.scan(f"{NAMESPACE}:", deadline) for key in keys})
    finally:
        tier.close()


class Fleet(Course):
    """One run of several workers.

    Args:
        setting: What the report says was run.
        workers: Processes that are ready to begin.
        view: What shows the figures while it runs.
        stop: Ends the run early, with its report.
        where: The address of the Redis.
        redis: The Redis, if it is the demo's own.
    """

    def __init__(
        self,
        setting: Setting,
        workers: list[Process],
        view: View,
        *,
        stop: Event,
        where: str,
        redis: LocalRedis | None,
    ) -> None:
        super().__init__(setting, view, stop=stop, start=perf_counter() + 0.1)
        self._processes = workers
        self._workers = [WorkerTally() for _ in workers]
        self._tally = Tally(setting)
        self._where = where if redis is None else f"a redis-server of the demo's own at {where}"
        self._ledger = Ledger()
        self._killed: float | None = None
        self._restarted: float | None = None
        self._entries: tuple[int, int | None] = (0, None)
        self._in_outage: list[tuple[float, Outcome, float]] = []
        self._failed_before = 0
        self._unfinished = 0

    # ---- Redis

    async def outage(self, redis: LocalRedis) -> str:
        """Kill the Redis and start it again, each when its time has come."""
        planned = self._setting.planned_seconds
        await self._until(KILL_AT * planned)
        self._entries = (await asyncio.to_thread(count_entries, redis.url), None)
        self._failed_before = self._failed
        self._killed = self._elapsed()
        await redis.kill()
        await self._until(START_AT * planned)
        await redis.start()
        self._restarted = self._elapsed()
        with suppress(TierError):
            self._entries = (self._entries[0], await asyncio.to_thread(count_entries, redis.url))
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    def _elapsed(self) -> float:
        return perf_counter() - self._start

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self._elapsed()))

    # ---- The workers

    async def _work(self) -> str:
        begin = json.dumps({"start": self._start}) + "\n"
        for process in self._processes:
            write(process, begin)
        await asyncio.gather(
            *(self._hear(*pair) for pair in zip(self._processes, self._workers, strict=True))
        )
        return "traffic"

    async def _hear(self, process: Process, worker: WorkerTally) -> None:
        """Read what a worker tells until it has told all."""
        while True:
            told = await read(process)
            if "ended" in told:
                self._unfinished += told["unfinished"]
                return
            for call in told["calls"]:
                self._count(worker, *call)
            worker.failed = told["failed"]
            worker.last_error = told["last_error"]
            worker.hits = told["hits"]
            worker.figures = told["figures"]
            worker.state = told["state"]
            worker.outages = [
                (begin - self._start, end - self._start) for begin, end in told["outages"]
            ]

    def _count(
        self,
        worker: WorkerTally,
        question: str,
        outcome: str,
        seconds: float,
        at: float,
        dollars: float | None,
        load_seconds: float,
        prompt: int,
        completion: int,
    ) -> None:
        kind = Outcome(outcome)
        answer = Answer("", TokenUsage(prompt, completion), dollars, load_seconds, 0.0, 0)
        self._tally.add(question=question, outcome=kind, answer=answer, seconds=seconds, at=at)
        worker.calls += 1
        if kind is Outcome.MISS:
            worker.paid += 1
            self._ledger.paid(question, at, at + seconds)
        if self._killed is not None and len(self._in_outage) < 100_000:
            self._in_outage.append((at, kind, seconds - load_seconds))

    @property
    def _failed(self) -> int:
        return sum(worker.failed for worker in self._workers)

    # ---- The figures

    def _report(self, *, elapsed: float, ended: str = "running", unfinished: int = 0) -> Report:
        errors = [worker.last_error for worker in self._workers if worker.last_error]
        self._tally.set_failed(self._failed, errors[-1] if errors else None)
        return self._tally.report(
            elapsed=elapsed,
            ended=ended,
            unfinished=unfinished + self._unfinished,
            engine=summed(worker.figures for worker in self._workers),
            top=TOP_QUESTIONS,
            sharing=self._sharing(),
        )

    def _sharing(self) -> Sharing:
        out = None
        outage = None
        if self._killed is not None:
            back = self._back()
            end = self._elapsed()
            if back is not None and self._restarted is not None:
                end = self._restarted + back
            out = self._killed, end
            outage = self._outage(self._killed, end, back)
        return Sharing(
            redis=self._where,
            up=self._killed is None or self._restarted is not None,
            workers=tuple(worker.count() for worker in self._workers),
            once=self._ledger.once(out),
            outage=outage,
        )

    def _outage(self, killed: float, end: float, back: float | None) -> Outage:
        calls = [call for call in self._in_outage if killed <= call[0] <= end]
        paid = [over for _, kind, over in calls if kind is Outcome.MISS]
        return Outage(
            killed=killed,
            started=self._restarted,
            back=back,
            calls=len(calls),
            hits=sum(kind is Outcome.HIT for _, kind, _ in calls),
            failed=self._failed - self._failed_before,
            overhead=max(paid, default=None),
            entries=self._entries,
        )

    def _back(self) -> float | None:
        """How long after its start the last worker used Redis again; None if one does not yet."""
        restarted = self._restarted
        if restarted is None or any(worker.state != "closed" for worker in self._workers):
            return None
        ends = [end for worker in self._workers for _, end in worker.outages]
        return max(0.0, max(ends, default=restarted) - restarted)


# ---- Processes


async def read(process: Process) -> dict[str, Any]:
    """Read one line of a worker.

    Raises:
        CommandError: It has ended, or cannot go on.
    """
    line = b"" if process.stdout is None else await process.stdout.readline()
    if not line:
        code = await process.wait()
        raise CommandError(f"a worker ended in the middle of the run, exit code {code}")
    told: dict[str, Any] = json.loads(line)
    if "error" in told:
        raise CommandError(f"a worker cannot go on: {told['error']}")
    return told


def write(process: Process, line: str) -> None:
    """Write one line to a worker."""
    if process.stdin is not None:
        process.stdin.write(line.encode())


@asynccontextmanager
async def started(jobs: list[Job]) -> AsyncGenerator[list[Process]]:
    """Have a worker ready for each job as long as the context lasts.

    Raises:
        CommandError: One does not start.
    """
    workers: list[Process] = []
    try:
        for job in jobs:
            # Its standard input stays open as long as this process lives, however that ends.
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "millpond.cli.demo.worker"),
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,
                limit=LONGEST_LINE,
            )
            workers.append(worker)
            write(worker, job.as_line() + "\n")
        try:
            async with asyncio.timeout(READY_SECONDS):
                await asyncio.gather(*(read(worker) for worker in workers))
        except TimeoutError:
            raise CommandError(f"the workers were not ready within {READY_SECONDS:g} s") from None
        yield workers
    finally:
        await asyncio.gather(*(_end(worker) for worker in workers))


async def _end(worker: Process) -> None:
    """Close its input, which asks it to stop; end it where it does not."""
    if worker.stdin is not None:
        worker.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await worker.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()
