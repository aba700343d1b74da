"""`Cluster`: which node of a Redis Cluster serves which key, and asking several at once.

A command goes to the node that the map of slots names, batched with the others for that node, and
the nodes work at the same time. A node that knows better says so (MOVED, ASK): that command alone
is sent again, where it said, within the same deadline.
"""

from __future__ import annotations

import asyncio
import binascii
import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, final

from millpond.errors import TierError, TierTimeoutError
from millpond.io import forks
from millpond.io.redis import Command, Fixed, Server, ServerClock, wait_for
from millpond.io.redis_url import named
from millpond.io.redis_wire import ASK, MOVED, NOSCRIPT, Damaged, Refusal, Reply, pack, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from millpond.io.redis_pool import Started
    from millpond.io.redis_url import Address, RedisSettings

SLOTS: Final = 16384
# A command that was sent on so often goes in circles.
_HOPS: Final = 5
# Seconds between two looks at the map, however often nodes fail or say that it is old.
_CALM: Final = 0.1
_ASKING: Final = pack(b"ASKING")
_MAP: Final = [Command(b"", pack(b"CLUSTER", b"SLOTS"))]


def slot_of(key: bytes) -> int:
    """The slot of a key: of what is between its first braces, if there is something.

    >>> slot_of(b"123456789"), slot_of(b"~g:app:{123456789}")
    (12739, 12739)
    """
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


class _Job(NamedTuple):
    """A command on its way: `place` is its place among the replies, `extra` how many replies to
    what goes before it are to be dropped."""

    place: int
    server: Server
    payload: bytes
    extra: int = 0


@final
class Cluster:
    """A Redis Cluster as a `Router`. Thread-safe."""

    single = None

    def __init__(
        self,
        settings: RedisSettings,
        *,
        tier: str = "redis",
        limit: int = 100,
        clock: ServerClock | None = None,
    ) -> None:
        self._settings = settings
        self._tier = tier
        self._limit = limit
        self._clock = clock or ServerClock()
        self._lock = threading.Lock()
        forks.tell(self)
        self._nodes: dict[Address, Server] = {}
        # The map of slots, replaced whole; None until it is known.
        self._slots: list[Server | None] | None = None
        self._old = False
        self._looked = -_CALM

    def forked(self) -> None:
        self._lock = threading.Lock()

    # ---- the router

    def run(self, commands: Sequence[Command], at: float, once: bool = False) -> list[Reply]:
        slots = self._known() or self._look(at)
        replies: list[Reply] = [None] * len(commands)
        jobs = self._first(commands, slots)
        for _ in range(_HOPS):
            batches = _by_server(jobs)
            answers = self._exchange(batches, at, once)
            jobs = self._take(commands, batches, answers, replies)
            if not jobs:
                return replies
        raise self._circles()

    async def arun(self, commands: Sequence[Command], at: float, once: bool = False) -> list[Reply]:
        slots = self._known() or await self._alook(at)
        replies: list[Reply] = [None] * len(commands)
        jobs = self._first(commands, slots)
        for _ in range(_HOPS):
            batches = _by_server(jobs)
            answers = await self._aexchange(batches, at, once)
            jobs = self._take(commands, batches, answers, replies)
            if not jobs:
                return replies
        raise self._circles()

    def confirm(self, commands: Sequence[Command], replicas: int, at: float) -> list[Reply]:
        batches = self._confirming(commands, self._known() or self._look(at), replicas, at)
        return self._confirmed(batches, self._exchange(batches, at, False), len(commands))

    async def aconfirm(self, commands: Sequence[Command], replicas: int, at: float) -> list[Reply]:
        slots = self._known() or await self._alook(at)
        batches = self._confirming(commands, slots, replicas, at)
        answers = await self._aexchange(batches, at, False, alone=True)
        return self._confirmed(batches, answers, len(commands))

    def servers(self, at: float) -> list[Server]:
        return _distinct(self._look(at))

    async def aservers(self, at: float) -> list[Server]:
        return _distinct(await self._alook(at))

    def doubt(self) -> None:
        """Look at the map again before the next command."""
        self._old = True

    def close(self) -> None:
        for server in list(self._nodes.values()):
            server.close()

    async def aclose(self) -> None:
        for server in list(self._nodes.values()):
            await server.aclose()

    # ---- sending

    def _exchange(
        self, batches: dict[Server, list[_Job]], at: float, once: bool
    ) -> list[list[Reply]]:
        """Send each node its batch, then read; the first failure, when all others are in."""
        started: list[Started] = []
        answers: list[list[Reply]] = []
        failure: BaseException | None = None
        try:
            for server, jobs in batches.items():
                try:
                    started.append(server.pool.start(*_packed(jobs), at, once))
                except TierError as error:
                    failure = failure or error
            while started:
                try:
                    answers.append(started.pop(0).finish())
                except TierError as error:
                    failure = failure or error
        except BaseException:  # Ctrl-C: nobody reads what the others answer.
            for one in started:
                one.abandon()
            raise
        if failure is not None:
            self._old = True
            raise failure
        return answers

    async def _aexchange(
        self, batches: dict[Server, list[_Job]], at: float, once: bool, *, alone: bool = False
    ) -> list[list[Reply]]:
        sent = [
            server.links.alone(*_packed(jobs), at)
            if alone
            else server.links.exchange(*_packed(jobs), at, once)
            for server, jobs in batches.items()
        ]
        try:
            if len(sent) == 1:
                return [await sent[0]]
            answers = await asyncio.gather(*sent, return_exceptions=True)
        except TierError:
            self._old = True
            raise
        found: list[list[Reply]] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                self._old = True
                raise answer
            found.append(answer)
        return found

    def _first(self, commands: Sequence[Command], slots: list[Server | None]) -> list[_Job]:
        jobs: list[_Job] = []
        for index, command in enumerate(commands):
            server = slots[slot_of(command.key)]
            if server is None:
                self._old = True
                raise TierError(
                    f"{self._tier}: no node of the Cluster serves a slot that is needed",
                    tier=self._tier,
                    kind="not_ready",
                )
            jobs.append(_Job(index, server, command.payload))
        return jobs

    def _take(
        self,
        commands: Sequence[Command],
        batches: dict[Server, list[_Job]],
        answers: list[list[Reply]],
        replies: list[Reply],
    ) -> list[_Job]:
        """Put replies in their places; return what must be sent again, and where to."""
        again: list[_Job] = []
        for jobs, answer in zip(batches.values(), answers, strict=True):
            at = 0
            for job in jobs:
                at += job.extra + 1
                reply = answer[at - 1]
                replies[job.place] = reply
                if isinstance(reply, Refusal):
                    again += self._onward(commands[job.place], job, reply)
        return again

    def _confirming(
        self, commands: Sequence[Command], slots: list[Server | None], replicas: int, at: float
    ) -> dict[Server, list[_Job]]:
        """Writes by their servers, the scripts before them, and WAIT at the end of each batch."""
        jobs = self._first(commands, slots)
        batches = _by_server(
            job._replace(payload=command.script.load + job.payload, extra=1)
            if command.script
            else job
            for command, job in zip(commands, jobs, strict=True)
        )
        for server, batch in batches.items():
            batch.append(_Job(len(commands), server, wait_for(replicas, at)))
        return batches

    def _confirmed(
        self, batches: dict[Server, list[_Job]], answers: list[list[Reply]], count: int
    ) -> list[Reply]:
        """What each server's WAIT has counted, in the places of the writes that it did not refuse.

        A key that has moved is a refusal: whoever asks again finds the new map.
        """
        replies: list[Reply] = [None] * (count + 1)
        for batch, answer in zip(batches.values(), answers, strict=True):
            at = 0
            for job in batch:
                at += job.extra + 1
                if isinstance(reply := answer[at - 1], Refusal):
                    self._old = True
                    replies[job.place] = reply
                else:
                    replies[job.place] = answer[-1]
        return replies[:count]

    def _onward(self, command: Command, job: _Job, refusal: Refusal) -> list[_Job]:
        """Where a command goes that this node refused; nowhere if that is its answer."""
        script = command.script
        if refusal.code == NOSCRIPT and script is not None:
            # ASKING holds for the one command after it, so the script goes before both.
            return [job._replace(payload=script.load + job.payload, extra=job.extra + 1)]
        if refusal.code == "CLUSTERDOWN":
            self._old = True
        if refusal.code not in (MOVED, ASK):
            return []
        slot, server = self._named(refusal, job.server)
        if refusal.code == MOVED:
            self._old = True
            self._move(slot, server)
            return [_Job(job.place, server, command.payload)]
        if script is None:
            return [_Job(job.place, server, _ASKING + command.payload, 1)]
        return [_Job(job.place, server, script.load + _ASKING + command.payload, 2)]

    def _named(self, refusal: Refusal, asked: Server) -> tuple[int, Server]:
        """The slot and the node that "3999 127.0.0.1:6381" names; no host means the same host."""
        slot, _, address = refusal.rest.partition(" ")
        host, _, port = address.rpartition(":")
        if not (slot.isdigit() and port.isdigit() and int(slot) < SLOTS):
            raise refused(refusal, self._tier)
        return int(slot), self._node((host or self._host(asked), int(port)))

    # ---- the map

    def _known(self) -> list[Server | None] | None:
        """The map, unless it should be looked at again."""
        if self._old and time.monotonic() - self._looked > _CALM:
            return None
        return self._slots

    def _look(self, at: float) -> list[Server | None]:
        """Ask the nodes, one after another, for the map; without an answer the old one serves."""
        self._looked = time.monotonic()
        failure: TierError | None = None
        for server, until in self._turns(at):
            try:
                return self._learn(server.run(_MAP, until), server)
            except (TierError, Damaged) as error:
                failure = failure or self._unlearnt(error)
        return self._without(failure, at)

    async def _alook(self, at: float) -> list[Server | None]:
        self._looked = time.monotonic()
        failure: TierError | None = None
        for server, until in self._turns(at):
            try:
                return self._learn(await server.arun(_MAP, until), server)
            except (TierError, Damaged) as error:
                failure = failure or self._unlearnt(error)
        return self._without(failure, at)

    def _turns(self, at: float) -> Iterable[tuple[Server, float]]:
        """Whom to ask, and until when: those in the map before those of the settings. All of them
        together take half of the time that is left while there is a map that may do."""
        known = _distinct(self._slots or [])
        others = [self._node(address) for address in self._settings.nodes]
        servers = [*known, *(one for one in others if one not in known)]
        now = time.monotonic()
        if self._slots is not None:
            # Not always the same one first: it may be the one that is down.
            turn = int(now * 1000) % max(1, len(known))
            servers = [*servers[turn:], *servers[:turn]]
            at = (now + at) / 2
        for index, server in enumerate(servers):
            now = time.monotonic()
            yield server, now + (at - now) / (len(servers) - index)

    def _learn(self, replies: list[Reply], asked: Server) -> list[Server | None]:
        """Make the map of a reply to CLUSTER SLOTS."""
        [reply] = replies
        if isinstance(reply, Refusal):
            raise refused(reply, self._tier)
        if not isinstance(reply, list):
            raise Damaged("no map of slots")
        slots: list[Server | None] = [None] * SLOTS
        for item in reply:
            match item:
                case [int(first), int(last), [host, int(port), *_], *_] if (
                    0 <= first <= last < SLOTS
                ):
                    name = host.decode("ascii", "replace") if isinstance(host, bytes) else ""
                    server = self._node((name or self._host(asked), port))
                    slots[first : last + 1] = [server] * (last + 1 - first)
                case _:
                    raise Damaged("no map of slots")
        self._slots = slots
        self._old = None in slots
        self._prune(slots)
        return slots

    def _prune(self, slots: list[Server | None]) -> None:
        """Close what is no longer in the map; a command that is under way there fails."""
        wanted = {*_distinct(slots), *(self._node(address) for address in self._settings.nodes)}
        with self._lock:
            gone = [address for address, one in self._nodes.items() if one not in wanted]
            left = [self._nodes.pop(address) for address in gone]
        for server in left:
            server.doubt()

    def _move(self, slot: int, server: Server) -> None:
        slots = self._slots
        if slots is not None:
            slots[slot] = server

    def _node(self, address: Address) -> Server:
        server = self._nodes.get(address)
        if server is None:
            with self._lock:
                server = self._nodes.get(address)
                if server is None:
                    server = self._nodes[address] = self._make(address)
        return server

    def _make(self, address: Address) -> Server:
        settings = dataclasses.replace(
            self._settings, host=address[0], port=address[1], nodes=(), db=0
        )
        return Server(
            settings,
            Fixed(address),
            tier=self._tier,
            limit=self._limit,
            clock=self._clock,
            where=named(address),
        )

    def _host(self, server: Server) -> str:
        return next((host for (host, _), one in self._nodes.items() if one is server), "localhost")

    def _unlearnt(self, error: TierError | Damaged) -> TierError:
        if isinstance(error, TierError):
            return error
        return TierError(f"{self._tier} sent {error}", tier=self._tier, kind="damaged")

    def _without(self, failure: TierError | None, at: float) -> list[Server | None]:
        """Go on with the map that there was; without one, the failure is everybody's."""
        if self._slots is not None:
            return self._slots
        if time.monotonic() >= at or failure is None:
            raise TierTimeoutError(
                f"{self._tier}: no node of the Cluster answered in the time there was",
                tier=self._tier,
            )
        raise failure

    def _circles(self) -> TierError:
        return TierError(
            f"{self._tier}: the nodes of the Cluster do not agree where a key is",
            tier=self._tier,
            kind="not_ready",
        )


def _by_server(jobs: Iterable[_Job]) -> dict[Server, list[_Job]]:
    batches: dict[Server, list[_Job]] = {}
    for job in jobs:
        batches.setdefault(job.server, []).append(job)
    return batches


def _packed(jobs: Sequence[_Job]) -> tuple[bytes, int]:
    return b"".join([job.payload for job in jobs]), sum(job.extra + 1 for job in jobs)


def _distinct(slots: Iterable[Server | None]) -> list[Server]:
    return [server for server in dict.fromkeys(slots) if server is not None]
