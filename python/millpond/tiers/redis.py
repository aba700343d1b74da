"""`RedisTier`: entries and generations in a Redis or Valkey, with one round trip for each call.

What is under a key is what its name says:

    {namespace}:{name}:{version}:{hash}     an entry, with its life (PX)
    ~g:{engine namespace}:{generation}      the stamp of a generation; lives until it is evicted
    ~g:{engine namespace}:{{entry's key}}   the guard of an entry, for an hour after it was raised
    ~l:{engine namespace}:{{entry's key}}   who is loading the entry, and who waits for it
    ~h:{engine namespace}                   the latest stamps that were raised; not in a Cluster

The braces put guard and lease into the slot of their entry, so one script may touch all in a
Cluster. Both kinds of stamps begin alike, so one prefix tells a client that tracks them of every
invalidation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from millpond.errors import LimitError, TierError, bad_option, bad_option_type
from millpond.io import redis_scripts as scripts
from millpond.io.deadline import Deadline
from millpond.io.redis import Command, Fixed, Server, ServerClock
from millpond.io.redis_cluster import Cluster
from millpond.io.redis_dial import require_redis
from millpond.io.redis_sentinel import SentinelFinder
from millpond.io.redis_url import RedisSettings
from millpond.io.redis_values import scan, scanned
from millpond.io.redis_wire import Damaged, Refusal, Reply, refused
from millpond.tiers.base import Entry, Fetched, Held
from millpond.tiers.known import Partly
from millpond.tiers.redis_requests import Request, Requests, decode_one, least
from millpond.tiers.redis_watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from millpond.io.redis import Finder, Router
    from millpond.tiers.base import Lease, Listener, Outcome, Waiting

T = TypeVar("T")
_NOTHING: Final = Fetched([], [], [])


@final
class RedisTier:
    """A Redis, Valkey or a Cluster of them as a `Tier`. Connects with the first call.

    Args:
        redis: a URL, or `RedisSettings`.
        namespace: the Engine's; engines of one namespace share their generations.
        timeout: seconds that one operation may take, at most.
        max_ttl: seconds that an entry stays at most.
        max_connections: how many connections threads may have open to one server. An event loop
            has one of its own.

    Example:
        >>> tier = RedisTier("redis://localhost:6379/0", namespace="docs")
        >>> tier.name, tier.timeout
        ('redis', 0.05)
    """

    def __init__(
        self,
        redis: str | RedisSettings,
        *,
        namespace: str = "millpond",
        name: str = "redis",
        timeout: float = 0.05,
        max_ttl: float = 3600.0,
        max_connections: int = 100,
    ) -> None:
        self.name = name
        self.shared = True
        self.ends_kept = False
        self.timeout = _positive("timeout", timeout)
        self.max_ttl = _positive("max_ttl", max_ttl)
        if max_connections < 1:
            raise bad_option("max_connections", max_connections, "a whole number >= 1")
        require_redis()
        self.settings = redis if isinstance(redis, RedisSettings) else RedisSettings.from_url(redis)
        self._clock = ServerClock()
        self._router = _router(self.settings, name, max_connections, self._clock)
        self._single = self._router.single
        self._watch: Watch | None = None
        self._requests = Requests(namespace, self.max_ttl, together=self._single is not None)

    def open(self, deadline: Deadline) -> None:
        """Connect, and give the servers the scripts.

        Raises:
            TierError: a server cannot be reached, or the user may not do what is needed.
        """
        for server in self._router.servers(deadline.at):
            self._all_well(server.run(_LOADS, deadline.at))

    async def aopen(self, deadline: Deadline) -> None:
        """The same, in an event loop."""
        for server in await self._router.aservers(deadline.at):
            self._all_well(await server.arun(_LOADS, deadline.at))

    def close(self) -> None:
        self.unwatch()
        self._router.close()

    async def aclose(self) -> None:
        await self._router.aclose()

    def now(self) -> int:
        return self._clock.now()

    # ---- look-ups

    def watch(self, listener: Listener, grace: float) -> None:
        """Tell `listener` what others do. Needs RESP3 and CLIENT TRACKING: Redis 6, Valkey."""
        self.unwatch()
        self._watch = Watch(
            lambda deadline: self._router.servers(deadline.at),
            self._requests.stamps,
            listener,
            grace,
            stamps=lambda names, deadline: self._ask([], names, deadline).stamps,
            guards=lambda keys, deadline: self._do(self._requests.guards(keys), deadline),
            channel=self._requests.leases.channel,
            log=self._requests.log,
            published=self._requests.leases,
        )

    def unwatch(self) -> None:
        """Tell nobody any more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def fetch(self, keys: Sequence[str], names: Sequence[str], deadline: Deadline) -> Fetched:
        watch = self._watch
        if watch is None or not names:
            return self._ask(keys, names, deadline)
        partly = Partly(watch.table, names)
        asked = bool(keys or partly.unknown)
        found = self._ask(keys, partly.unknown, deadline) if asked else _NOTHING
        return partly.completed(found)

    async def afetch(
        self, keys: Sequence[str], names: Sequence[str], deadline: Deadline
    ) -> Fetched:
        watch = self._watch
        if watch is None or not names:
            return await self._aask(keys, names, deadline)
        partly = Partly(watch.table, names)
        asked = bool(keys or partly.unknown)
        found = await self._aask(keys, partly.unknown, deadline) if asked else _NOTHING
        return partly.completed(found)

    def _ask(self, keys: Sequence[str], names: Sequence[str], deadline: Deadline) -> Fetched:
        if len(keys) == 1 and not names and self._single is not None:
            payload = self._requests.one(keys[0])
            return self._fetched(self._single.pool.exchange(payload, 1, deadline.at))
        return self._do(self._requests.fetch(keys, names), deadline)

    async def _aask(self, keys: Sequence[str], names: Sequence[str], deadline: Deadline) -> Fetched:
        if len(keys) == 1 and not names and self._single is not None:
            payload = self._requests.one(keys[0])
            return self._fetched(await self._single.links.exchange(payload, 1, deadline.at))
        return await self._ado(self._requests.fetch(keys, names), deadline)

    def inspect(self, key: str, deadline: Deadline) -> Held | None:
        return self._do(self._requests.inspect(key), deadline)

    async def ainspect(self, key: str, deadline: Deadline) -> Held | None:
        return await self._ado(self._requests.inspect(key), deadline)

    def scan(self, prefix: str, deadline: Deadline) -> Iterator[list[str]]:
        """The keys that begin with `prefix`, in batches. A key may come twice, as SCAN has it."""
        for server in self._router.servers(deadline.at):
            cursor = b"0"
            while True:
                replies = server.run([Command(b"", scan(prefix, cursor))], deadline.at)
                cursor, keys = self._judge(scanned, replies)
                if keys:
                    yield keys
                if cursor == b"0":
                    break

    async def ascan(self, prefix: str, deadline: Deadline) -> AsyncIterator[list[str]]:
        for server in await self._router.aservers(deadline.at):
            cursor = b"0"
            while True:
                replies = await server.arun([Command(b"", scan(prefix, cursor))], deadline.at)
                cursor, keys = self._judge(scanned, replies)
                if keys:
                    yield keys
                if cursor == b"0":
                    break

    # ---- entries

    def store(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        return self._do(self._requests.store(entries), deadline)

    async def astore(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        return await self._ado(self._requests.store(entries), deadline)

    def write(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        watch, keys = self._watch, [entry.key for entry in entries]
        if watch is None:
            self._do(self._requests.write(entries), deadline)
            return
        with watch.own.writing(keys) as wrote:
            guards = self._do(self._requests.write(entries), deadline)
            wrote.guards = dict(zip(keys, guards, strict=True))
        if wrote.pushed:
            with watch.own.judging(wrote) as present:
                present(self._do(self._requests.guards([*wrote.pushed]), deadline))

    async def awrite(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        watch, keys = self._watch, [entry.key for entry in entries]
        if watch is None:
            await self._ado(self._requests.write(entries), deadline)
            return
        with watch.own.writing(keys) as wrote:
            guards = await self._ado(self._requests.write(entries), deadline)
            wrote.guards = dict(zip(keys, guards, strict=True))
        if wrote.pushed:
            with watch.own.judging(wrote) as present:
                present(await self._ado(self._requests.guards([*wrote.pushed]), deadline))

    def delete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        return self._do(self._requests.delete(keys), deadline)

    async def adelete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        return await self._ado(self._requests.delete(keys), deadline)

    def erase(self, keys: Sequence[str], deadline: Deadline) -> int:
        return sum(self.delete(keys, deadline))

    async def aerase(self, keys: Sequence[str], deadline: Deadline) -> int:
        return sum(await self.adelete(keys, deadline))

    # ---- leases

    def tell(self, waiting: Waiting | None) -> None:
        """What is published is told while `watch` is on; else those who wait ask now and then."""
        self._requests.leases.waiting = waiting

    def acquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        return self._do(self._requests.leases.acquire(key, fence, seconds, seen), deadline)

    async def aacquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        return await self._ado(self._requests.leases.acquire(key, fence, seconds, seen), deadline)

    def renew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        return self._do(self._requests.leases.renew(leases, seconds), deadline)

    async def arenew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        return await self._ado(self._requests.leases.renew(leases, seconds), deadline)

    def release(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        return self._do(self._requests.leases.release(leases, outcome), deadline)

    async def arelease(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        return await self._ado(self._requests.leases.release(leases, outcome), deadline)

    # ---- generations and numbers

    def stamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        watch = self._watch
        if watch is None:
            return self._do(self._requests.make(names), deadline)[0]
        known = watch.table.known(names)
        if None not in known:
            return [at for at in known if at is not None]
        with watch.own.making(names) as made:
            made.take(*self._do(self._requests.make(names), deadline))
        if made.expected:
            with watch.own.comparing(made.expected) as present:
                present(self._ask([], [*made.expected], deadline).stamps)
        return made.stamps

    async def astamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        watch = self._watch
        if watch is None:
            return (await self._ado(self._requests.make(names), deadline))[0]
        known = watch.table.known(names)
        if None not in known:
            return [at for at in known if at is not None]
        with watch.own.making(names) as made:
            made.take(*await self._ado(self._requests.make(names), deadline))
        if made.expected:
            with watch.own.comparing(made.expected) as present:
                present((await self._aask([], [*made.expected], deadline)).stamps)
        return made.stamps

    def bump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        try:
            return self._do(self._requests.bump(names), deadline)
        finally:
            self._forget(names)

    async def abump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        try:
            return await self._ado(self._requests.bump(names), deadline)
        finally:
            self._forget(names)

    def confirm(self, stamps: Sequence[tuple[str, int]], replicas: int, deadline: Deadline) -> int:
        commands = self._requests.confirm(stamps)
        return self._judge(least, self._router.confirm(commands, replicas, deadline.at))

    async def aconfirm(
        self, stamps: Sequence[tuple[str, int]], replicas: int, deadline: Deadline
    ) -> int:
        commands = self._requests.confirm(stamps)
        return self._judge(least, await self._router.aconfirm(commands, replicas, deadline.at))

    def _forget(self, names: Sequence[str]) -> None:
        """This process has bumped them, or may have: it must not wait to be told."""
        if (watch := self._watch) is not None:
            for name in names:
                watch.table.forget(name)

    def incr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        return self._do(self._requests.incr(key, amount, ttl), deadline, once=True)

    async def aincr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        return await self._ado(self._requests.incr(key, amount, ttl), deadline, once=True)

    # ---- how requests are sent

    def _do(self, request: Request[T], deadline: Deadline, once: bool = False) -> T:
        commands, decode = request
        replies = self._router.run(commands, deadline.at, once) if commands else []
        return self._judge(decode, replies)

    async def _ado(self, request: Request[T], deadline: Deadline, once: bool = False) -> T:
        commands, decode = request
        replies = await self._router.arun(commands, deadline.at, once) if commands else []
        return self._judge(decode, replies)

    def _judge(self, decode: Callable[[list[Reply]], T], replies: list[Reply]) -> T:
        """What replies mean; a refusal among them is the error of the whole call."""
        for reply in replies:
            if isinstance(reply, Refusal):
                if "would overflow" in reply.rest:
                    raise LimitError("the sum does not fit in 64 bits; the number is unchanged")
                if reply.code == "READONLY" and self._single is not None:
                    self._single.doubt()  # it was the primary when we connected
                raise refused(reply, self.name)
        try:
            return decode(replies)
        except Damaged as damaged:
            raise self._damaged() from damaged

    def _fetched(self, replies: list[Reply]) -> Fetched:
        """What the reply to `_mget` means."""
        reply = replies[0]
        if isinstance(reply, list) and len(reply) == 2:
            data, guard = reply
            if guard is None and (data is None or isinstance(data, bytes)):
                return Fetched([data], [0], [])
        return self._judge(decode_one, replies)

    def _damaged(self) -> TierError:
        """The server answered something else than it was asked; nothing of it can be trusted."""
        if self._single is not None:
            self._single.doubt()
        return TierError(
            f"{self.name} at {self.settings.where} answered something else than it was asked; "
            "its connections were dropped",
            tier=self.name,
            kind="damaged",
        )

    def _all_well(self, replies: list[Reply]) -> None:
        self._judge(lambda _: None, replies)


_LOADS: Final = [Command(b"", script.load) for script in scripts.SCRIPTS]


def _router(settings: RedisSettings, tier: str, limit: int, clock: ServerClock) -> Router:
    finder: Finder
    if settings.nodes:
        return Cluster(settings, tier=tier, limit=limit, clock=clock)
    if settings.sentinels:
        finder = SentinelFinder(settings, tier)
    else:
        finder = Fixed(None if settings.path else (settings.host, settings.port))
    return Server(settings, finder, tier=tier, limit=limit, clock=clock)


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_option_type(name, value, "seconds, a number > 0")
    if not 0 < value < math.inf:
        raise bad_option(name, value, "seconds, a number > 0")
    return float(value)
