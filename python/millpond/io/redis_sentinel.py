"""`SentinelFinder`: where the primary is, as its Sentinels say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, final

from millpond.errors import TierError, TierTimeoutError
from millpond.io.redis import Command, Fixed, Server
from millpond.io.redis_url import Address, RedisSettings, named
from millpond.io.redis_wire import Refusal, Reply, pack, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.io.deadline import Deadline

# How long an answer is good: a burst of new connections asks once.
_LIFE: Final = 1.0
# How old an answer may be when the server that it names has answered: in less than that, nobody
# takes the place of one that hangs.
_SURE: Final = 0.1


@final
class SentinelFinder:
    """Asks the Sentinels one after another, the one that answered last first. Thread-safe.

    Each gets its share of the time that is left, so one that hangs does not use it all up.
    """

    primary = True

    def __init__(self, settings: RedisSettings, tier: str) -> None:
        self._tier = tier
        self._service = settings.service or ""
        self._servers = [
            Server(
                _of_sentinel(settings, address), Fixed(address), tier=f"{tier} sentinel", limit=4
            )
            for address in settings.sentinels
        ]
        self._question = [
            Command(b"", pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._service.encode()))
        ]
        # The address, and when it was told.
        self._known: tuple[Address, float] | None = None

    def find(self, deadline: Deadline) -> Address:
        if (address := self._fresh()) is not None:
            return address
        failures: list[TierError] = []
        for server, at in self._turns(deadline):
            try:
                found = self._read(server, server.run(self._question, at))
            except TierError as error:
                failures.append(error)
            else:
                return found
        raise self._nowhere(failures, deadline)

    async def afind(self, deadline: Deadline) -> Address:
        if (address := self._fresh()) is not None:
            return address
        failures: list[TierError] = []
        for server, at in self._turns(deadline):
            try:
                found = self._read(server, await server.arun(self._question, at))
            except TierError as error:
                failures.append(error)
            else:
                return found
        raise self._nowhere(failures, deadline)

    def check(self, address: Address | None, deadline: Deadline) -> None:
        """The Sentinels are asked again if they were not asked just now: a server that hung for a
        while may be replaced, and take itself for the primary until they tell it."""
        if self._fresh(_SURE) != address:
            self.forget()
            self._compare(address, self.find(deadline))

    async def acheck(self, address: Address | None, deadline: Deadline) -> None:
        if self._fresh(_SURE) != address:
            self.forget()
            self._compare(address, await self.afind(deadline))

    def forget(self) -> None:
        self._known = None

    def close(self) -> None:
        for server in self._servers:
            server.close()

    async def aclose(self) -> None:
        for server in self._servers:
            await server.aclose()

    def _fresh(self, life: float = _LIFE) -> Address | None:
        known = self._known
        return known[0] if known is not None and time.monotonic() < known[1] + life else None

    def _compare(self, address: Address | None, found: Address) -> None:
        if found != address:
            raise TierError(
                f"{self._tier}: {self._service!r} is at {named(found)} since a moment ago",
                tier=self._tier,
                kind="not_ready",
            )

    def _turns(self, deadline: Deadline) -> Iterator[tuple[Server, float]]:
        servers = list(self._servers)
        for index, server in enumerate(servers):
            yield server, time.monotonic() + deadline.left() / (len(servers) - index)

    def _read(self, server: Server, replies: list[Reply]) -> Address:
        match replies[0]:
            case [bytes(host), bytes(port)] if port.isdigit():
                address = (host.decode("ascii", "replace"), int(port))
            case Refusal() as refusal:
                raise refused(refusal, self._tier)
            case _:
                raise TierError("it does not know the service", tier=self._tier)
        self._known = (address, time.monotonic())
        if self._servers[0] is not server:
            # Assigned whole, since others may go through the list.
            self._servers = [server, *(one for one in self._servers if one is not server)]
        return address

    def _nowhere(self, failures: list[TierError], deadline: Deadline) -> TierError:
        if deadline.left() == 0:
            return TierTimeoutError(
                f"{self._tier}: no Sentinel answered in the time there was", tier=self._tier
            )
        kinds = {failure.kind for failure in failures}
        kind = "configuration" if kinds == {"configuration"} else "unavailable"
        return TierError(
            f"{self._tier}: none of {len(failures)} Sentinels says where {self._service!r} is: "
            + "; ".join(str(failure) for failure in failures[:3]),
            tier=self._tier,
            kind=kind,
        )


def _of_sentinel(settings: RedisSettings, address: Address) -> RedisSettings:
    """The settings for one Sentinel: its own user, the same TLS."""
    return RedisSettings(
        host=address[0],
        port=address[1],
        username=settings.sentinel_username,
        password=settings.sentinel_password,
        tls=settings.tls,
        ca=settings.ca,
        cert=settings.cert,
        key=settings.key,
        key_password=settings.key_password,
        verify=settings.verify,
        check_hostname=settings.check_hostname,
        client_name=settings.client_name,
    )
