"""`Carrier`: carries out what a PostgreSQL tier asks, on links of its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, final

from millpond.io.postgres import upkeep
from millpond.io.postgres.errors import NO_TABLES, STALE_PLAN, Refusal, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.pq.abc import PGresult

    from millpond.io.deadline import Deadline
    from millpond.io.postgres.link import Link
    from millpond.io.postgres.pool import Pool
    from millpond.io.postgres.upkeep import Plan
    from millpond.tiers.postgres_calls import Call

T = TypeVar("T")


@final
class Carrier:
    """Carries out calls, and plans of several statements, in threads and in event loops.

    Args:
        pool: of links.
        opening: what is done before the first call, and after the tables were found changed.

    Attributes:
        ready: whether that was done.
    """

    def __init__(self, pool: Pool, opening: Callable[[], Plan[None]]) -> None:
        self._pool = pool
        self._opening = opening
        self.ready = False

    def open(self, deadline: Deadline) -> None:
        """Make ready."""
        self.drive(self._opening(), deadline)
        self.ready = True

    async def aopen(self, deadline: Deadline) -> None:
        await self.adrive(self._opening(), deadline)
        self.ready = True

    def do(self, call: Call[T], deadline: Deadline) -> T:
        """What a call brings, once the tables are known to be there."""
        if not call.wanted:
            nothing: T = call.nothing()
            return nothing
        if not self.ready:
            self.open(deadline)
        link = self._pool.take(deadline)
        try:
            answer = link.run(link.asking(call.statement, call.values), deadline.at, call.doing)
            result = self._judged(answer, link)
        finally:
            self._pool.give(link)
        return call.read(result)

    async def ado(self, call: Call[T], deadline: Deadline) -> T:
        if not call.wanted:
            nothing: T = call.nothing()
            return nothing
        if not self.ready:
            await self.aopen(deadline)
        link = await self._pool.atake(deadline)
        try:
            steps = link.asking(call.statement, call.values)
            result = self._judged(await link.arun(steps, deadline.at, call.doing), link)
        finally:
            self._pool.give(link)
        return call.read(result)

    def drive(self, plan: Plan[T], deadline: Deadline) -> T:
        """What a plan brings, on one link."""
        link = self._pool.take(deadline)
        try:
            request = next(plan)
            while True:
                answer = link.run(upkeep.steps(link, request), deadline.at, "upkeep")
                request = plan.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            self._pool.give(link)

    async def adrive(self, plan: Plan[T], deadline: Deadline) -> T:
        link = await self._pool.atake(deadline)
        try:
            request = next(plan)
            while True:
                answer = await link.arun(upkeep.steps(link, request), deadline.at, "upkeep")
                request = plan.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            self._pool.give(link)

    def _judged(self, answer: PGresult | Refusal, link: Link) -> PGresult:
        if not isinstance(answer, Refusal):
            return answer
        if answer.state in NO_TABLES:
            self.ready = False
        if answer.state in NO_TABLES or answer.state in STALE_PLAN:
            link.broken = True
            self._pool.clear()
        raise refused(answer)
