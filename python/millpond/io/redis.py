"""`Server`: commands to one Redis, for threads and for event loops.

    redis_url       where it is
    redis_dial      how a connection begins
    redis_pool      blocking connections          redis_links   those of event loops
    redis_wire      bytes                         redis_scripts what runs in the server

`redis_sentinel` and `redis_cluster` find out which servers there are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, final

from millpond.errors import TierError
from millpond.io.deadline import Deadline
from millpond.io.redis_channel import Channel
from millpond.io.redis_dial import Dialer
from millpond.io.redis_link import Link
from millpond.io.redis_links import Links
from millpond.io.redis_pool import Pool
from millpond.io.redis_wire import NOSCRIPT, Refusal, Reply, pack, refused

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from millpond.io.redis_scripts import Script
    from millpond.io.redis_url import Address, RedisSettings

_TIME: Final = pack(b"TIME")
_ROLE: Final = pack(b"ROLE")
# Seconds by which the reply to WAIT may be late: a server that has nothing else to do looks every
# 100 ms whether the time of a client is over.
_LATE: Final = 0.2


class Command(NamedTuple):
    """One command, packed.

    Attributes:
        key: the key that says which server of a Cluster it goes to.
        payload: its bytes.
        script: the script that it runs, if it runs one.
    """

    key: bytes
    payload: bytes
    script: Script | None = None


class Router(Protocol):
    """Sends commands to the servers that they belong to; replies come in the same order.

    Attributes:
        single: the one server there is; None in a Cluster.
    """

    @property
    def single(self) -> Server | None: ...

    def run(self, commands: Sequence[Command], at: float, once: bool = False) -> list[Reply]: ...

    async def arun(
        self, commands: Sequence[Command], at: float, once: bool = False
    ) -> list[Reply]: ...

    def confirm(self, commands: Sequence[Command], replicas: int, at: float) -> list[Reply]:
        """Send writes, and wait until so many replicas of each server have them.

        For each command its refusal, or how many have it.
        """
        ...

    async def aconfirm(
        self, commands: Sequence[Command], replicas: int, at: float
    ) -> list[Reply]: ...

    def servers(self, at: float) -> list[Server]:
        """Those that hold keys: one, or the primaries of a Cluster."""
        ...

    async def aservers(self, at: float) -> list[Server]: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


@final
class ServerClock:
    """What a server's clock says, learnt from TIME when a connection begins.

    The monotonic clock carries it on, so a change of this host's clock does not move it.
    """

    def __init__(self) -> None:
        self._ahead: int | None = None

    def now(self) -> int:
        """Microseconds since 1970; by this host's clock until a server was asked."""
        if self._ahead is None:
            return time.time_ns() // 1000
        return time.monotonic_ns() // 1000 + self._ahead

    def learn(self, reply: Reply, before: int, after: int) -> None:
        """Take a reply to TIME, asked and answered at these monotonic nanoseconds."""
        match reply:
            case [bytes(seconds), bytes(micros)] if seconds.isdigit() and micros.isdigit():
                middle = (before + after) // 2000
                self._ahead = int(seconds) * 1_000_000 + int(micros) - middle
            case _:
                pass


class Finder(Protocol):
    """Says where a server is; None stands for the unix socket of the settings.

    Attributes:
        primary: whether what is there must be a primary, or was one that is to be left.
    """

    primary: bool

    def find(self, deadline: Deadline) -> Address | None: ...

    async def afind(self, deadline: Deadline) -> Address | None: ...

    def check(self, address: Address | None, deadline: Deadline) -> None:
        """Make sure that it is there still: what answered may have hung and been replaced.

        Raises:
            TierError: it is elsewhere, or nobody knows.
        """
        ...

    async def acheck(self, address: Address | None, deadline: Deadline) -> None: ...

    def forget(self) -> None:
        """It is not there any more."""
        ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


@final
class Fixed:
    """The `Finder` of a server that stays where it is."""

    primary = False

    def __init__(self, address: Address | None) -> None:
        self.address = address

    def find(self, deadline: Deadline) -> Address | None:
        return self.address

    async def afind(self, deadline: Deadline) -> Address | None:
        return self.address

    def check(self, address: Address | None, deadline: Deadline) -> None:
        """It is always there."""

    async def acheck(self, address: Address | None, deadline: Deadline) -> None:
        """It is always there."""

    def forget(self) -> None:
        """Where else should it be?"""

    def close(self) -> None:
        """There is nothing to close."""

    async def aclose(self) -> None:
        """There is nothing to close."""


@final
class Server:
    """One Redis: its pool for threads and its links of event loops. Thread-safe."""

    def __init__(
        self,
        settings: RedisSettings,
        finder: Finder,
        *,
        tier: str = "redis",
        limit: int = 100,
        clock: ServerClock | None = None,
        where: str = "",
    ) -> None:
        self.tier = tier
        self.clock = clock or ServerClock()
        self.where = where or settings.where
        self._finder = finder
        self._greeting = _TIME + _ROLE if finder.primary else _TIME
        self._greetings = 2 if finder.primary else 1
        self._dialer = Dialer(settings, tier)
        failed = self.doubt if finder.primary else _nothing
        self.pool = Pool(
            self._dial, tier=tier, where=lambda: self.where, failed=failed, limit=limit
        )
        self.links = Links(
            self._adial, self._ready, tier=tier, where=lambda: self.where, failed=failed
        )

    @property
    def single(self) -> Server:
        return self

    def servers(self, at: float) -> list[Server]:
        return [self]

    async def aservers(self, at: float) -> list[Server]:
        return [self]

    def run(self, commands: Sequence[Command], at: float, once: bool = False) -> list[Reply]:
        """Send commands in one go, and return their replies in the same order.

        Args:
            at: the deadline, on the monotonic clock.
            once: they may not be sent twice.

        Raises:
            TierError, TierTimeoutError
        """
        payload = b"".join([command.payload for command in commands])
        replies = self.pool.exchange(payload, len(commands), at, once)
        if again := _unknown(commands, replies):
            payload, count = _with_scripts(commands, again)
            _merge(replies, again, self.pool.exchange(payload, count, at, once))
        return replies

    async def arun(self, commands: Sequence[Command], at: float, once: bool = False) -> list[Reply]:
        """The same, in an event loop."""
        payload = b"".join([command.payload for command in commands])
        replies = await self.links.exchange(payload, len(commands), at, once)
        if again := _unknown(commands, replies):
            payload, count = _with_scripts(commands, again)
            _merge(replies, again, await self.links.exchange(payload, count, at, once))
        return replies

    def confirm(self, commands: Sequence[Command], replicas: int, at: float) -> list[Reply]:
        """Send writes, and wait until so many replicas have them; see `Router`."""
        payload, count = _with_wait(commands, replicas, at)
        return _confirmed(self.pool.exchange(payload, count, at), len(commands))

    async def aconfirm(self, commands: Sequence[Command], replicas: int, at: float) -> list[Reply]:
        """The same, in an event loop, where nobody else's commands wait behind."""
        payload, count = _with_wait(commands, replicas, at)
        return _confirmed(await self.links.alone(payload, count, at), len(commands))

    def doubt(self) -> None:
        """Use none of the connections that there are, and look where it is: it is another now."""
        self._finder.forget()
        self.pool.clear()
        self.links.clear()

    def close(self) -> None:
        self.pool.close()
        self.links.close()
        self._finder.close()

    async def aclose(self) -> None:
        self.pool.close()
        await self.links.aclose()
        await self._finder.aclose()

    def dial(self, deadline: Deadline, hold: Callable[[socket.socket], None]) -> Any:
        """A redis-py Connection of the caller's own; `hold` is given its socket first."""
        address = self._finder.find(deadline)
        try:
            return self._dialer.dial(address, deadline, hold)
        except BaseException:
            self._finder.forget()
            raise

    def check(self, connection: Any, deadline: Deadline) -> None:
        """Make sure that a connection of `dial` that has answered is to who it was made to.

        Raises:
            TierError: another has its place by now.
        """
        self._finder.check(connection.address, deadline)

    def _dial(self, deadline: Deadline, channel: Channel) -> None:
        channel.connection = self.dial(deadline, channel.hold)
        try:
            before = time.monotonic_ns()
            channel.send(self._greeting, deadline.at)
            self._introduced(channel.receive(self._greetings), before)
            channel.round_trip = (time.monotonic_ns() - before) / 1e9
            self._finder.check(channel.connection.address, deadline)
        except BaseException:
            self._finder.forget()
            raise

    async def _adial(self, found: Deadline, connected: Deadline) -> Any:
        address = await self._finder.afind(found)
        try:
            return await self._dialer.adial(address, connected)
        except BaseException:
            self._finder.forget()
            raise

    async def _ready(self, link: Link, at: float) -> None:
        before = time.monotonic_ns()
        try:
            self._introduced(await link.send(self._greeting, self._greetings, at), before)
            link.round_trip = (time.monotonic_ns() - before) / 1e9
            await self._finder.acheck(link.address, Deadline(at))
        except BaseException:
            self._finder.forget()
            raise

    def _introduced(self, replies: list[Reply], before: int) -> None:
        """Judge the first replies of a connection.

        A user that may not ask for TIME may do more, and a Sentinel does not know it; but a server
        that is asked for its role must have the right one.
        """
        after = time.monotonic_ns()
        for reply in replies:
            harmless = isinstance(reply, Refusal) and reply.code in ("NOPERM", "ERR")
            if isinstance(reply, Refusal) and not (harmless and reply is replies[0]):
                raise refused(reply, self.tier)
        self.clock.learn(replies[0], before, after)
        if self._finder.primary:
            role = replies[1]
            if not isinstance(role, list) or not role or role[0] != b"master":
                raise TierError(
                    f"{self.tier} at {self.where} is no primary (any more)",
                    tier=self.tier,
                    kind="not_ready",
                )


def _nothing() -> None:
    """A server that stays where it is is the same when it answers again."""


def _unknown(commands: Sequence[Command], replies: Sequence[Reply]) -> list[int]:
    """Which commands ran a script that the server does not know."""
    return [
        index
        for index, reply in enumerate(replies)
        if isinstance(reply, Refusal) and reply.code == NOSCRIPT and commands[index].script
    ]


def _with_scripts(commands: Sequence[Command], again: Sequence[int]) -> tuple[bytes, int]:
    """These commands with their scripts before them, and how many replies there will be."""
    scripts = {script.sha: script.load for i in again if (script := commands[i].script)}
    parts = [*scripts.values(), *(commands[index].payload for index in again)]
    return b"".join(parts), len(parts)


def wait_for(replicas: int, at: float) -> bytes:
    """WAIT for what was written over the same connection, for less time than there is until `at`:
    its reply has to arrive."""
    left = at - time.monotonic()
    millis = max(1, int(1000 * (left - min(_LATE, 0.75 * left))))
    return pack(b"WAIT", replicas, millis)


def _with_wait(commands: Sequence[Command], replicas: int, at: float) -> tuple[bytes, int]:
    """Writes and WAIT, and how many replies there will be. The scripts come along: a write that is
    sent again, over another connection, would not be counted."""
    payload, count = _with_scripts(commands, range(len(commands)))
    return payload + wait_for(replicas, at), count + 1


def _confirmed(replies: list[Reply], count: int) -> list[Reply]:
    """For each of the last `count` commands before WAIT its refusal, or what WAIT counted."""
    *others, acknowledged = replies
    failed = next((one for one in others[:-count] if isinstance(one, Refusal)), None)
    return [
        failed or (one if isinstance(one, Refusal) else acknowledged) for one in others[-count:]
    ]


def _merge(replies: list[Reply], again: Sequence[int], second: list[Reply]) -> None:
    """Put the replies of the second time in the places of the first; loading comes before."""
    loaded = second[: len(second) - len(again)]
    failed = next((reply for reply in loaded if isinstance(reply, Refusal)), None)
    for index, reply in zip(again, second[len(loaded) :], strict=True):
        replies[index] = failed or reply
