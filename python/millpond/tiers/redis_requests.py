"""What the calls of a Redis tier send, and what the replies to them mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, final

from millpond import _engine
from millpond.io import redis_scripts as scripts
from millpond.io.redis import Command
from millpond.io.redis_values import millis, strings, whole
from millpond.io.redis_wire import Damaged, Reply, pack
from millpond.tiers.amounts import whole_amount
from millpond.tiers.base import Entry, Fetched, Held
from millpond.tiers.redis_leases import RedisLeases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
# What is to be sent, and what the replies to it mean.
Request: TypeAlias = "tuple[list[Command], Callable[[list[Reply]], T]]"

# Milliseconds; a mark is written to be counted by WAIT, and nobody reads it.
_MARK_LIFE: Final = 1000


@final
class Requests:
    """The requests of a tier.

    Args:
        namespace: of the Engine.
        max_ttl: seconds that an entry stays at most.
        together: whether all keys are on one server, so that one command may ask for them.

    Attributes:
        stamps: how the keys of generations and guards begin.
        log: where the latest invalidations are kept; b"" where keys are on several servers.
        leases: those of the tier.
    """

    def __init__(self, namespace: str, max_ttl: float, *, together: bool) -> None:
        self.stamps = f"~g:{namespace}:".encode()
        self._guards = self.stamps + b"{"
        self.log = f"~h:{namespace}".encode() if together else b""
        self._noted = (self.log,) if together else ()
        self.leases = RedisLeases(namespace)
        self._max_ttl = max_ttl
        self._together = together
        # MGET of an entry and its guard, the call that must be fast.
        self._one = (
            b"*3\r\n$4\r\nMGET\r\n$%d\r\n%b\r\n$%d\r\n"
            + self._guards.replace(b"%", b"%%")
            + b"%b}\r\n"
        )
        self._longer = len(self._guards) + 1

    def one(self, key: str) -> bytes:
        """The look-up of one entry, packed; `decode_one` reads its reply."""
        name = key.encode()
        size = len(name)
        return self._one % (size, name, size + self._longer, name)

    def fetch(self, keys: Sequence[str], names: Sequence[str]) -> Request[Fetched]:
        """Entries, guards and stamps, in one round trip."""
        count = len(keys)

        def decode(replies: list[Reply]) -> Fetched:
            reply = replies[0] if self._together and replies else replies
            found = _engine.redis_found(reply, count, len(names))
            if found is None:
                raise Damaged("something else than entries, guards and stamps")
            return Fetched(*found)

        if self._together:
            asked = _engine.redis_lookup(keys, names, self._guards, self.stamps)
            return [Command(b"", asked)] if keys or names else [], decode
        entries = [key.encode() for key in keys]
        guards = [self._guard(key) for key in entries]
        generations = [self.stamps + name.encode() for name in names]
        # Not MGET of both: while a slot moves, its node refuses what needs two keys of which one
        # is not (or no longer) there. The guard first, so it is never newer than the entry.
        wanted = [*guards, *entries, *generations]
        return [Command(key, pack(b"GET", key)) for key in wanted], decode

    def store(self, entries: Sequence[Entry]) -> Request[list[bool]]:
        """Fill in entries whose guards, and leases if they have one, are what they were."""
        commands: list[Command] = []
        for entry in entries:
            keys, life = self._place(entry)
            if entry.fence:
                commands.append(self.leases.land(entry, keys, life))
                continue
            call = scripts.STORE.call(keys, entry.data, life, entry.guard)
            commands.append(Command(keys[0], call, scripts.STORE))
        return commands, lambda replies: [whole(reply) == 1 for reply in replies]

    def write(self, entries: Sequence[Entry]) -> Request[list[int]]:
        """Store entries whatever is there; their new guards."""
        commands: list[Command] = []
        for entry in entries:
            keys, life = self._place(entry)
            call = scripts.WRITE.call((*keys, *self._noted), entry.data, life, scripts.GUARD_LIFE)
            commands.append(Command(keys[0], call, scripts.WRITE))
        return commands, lambda replies: [whole(reply) for reply in replies]

    def guards(self, keys: Sequence[str]) -> Request[list[int]]:
        """The present guards of entries."""
        names = [self._guard(key.encode()) for key in keys]
        commands = [Command(name, pack(b"GET", name)) for name in names]
        return commands, lambda replies: [0 if one is None else whole(one) for one in replies]

    def delete(self, keys: Sequence[str]) -> Request[list[bool]]:
        """Remove entries and raise their guards; whether each was there."""
        commands: list[Command] = []
        for key in keys:
            entry = key.encode()
            touched = (entry, self._guard(entry), *self._noted)
            call = scripts.DELETE.call(touched, scripts.GUARD_LIFE)
            commands.append(Command(entry, call, scripts.DELETE))
        return commands, lambda replies: [whole(reply) > 0 for reply in replies]

    def make(self, names: Sequence[str]) -> Request[tuple[list[int], list[bool]]]:
        """The stamps of generations, and whether each is new because there was none."""
        keys = [self.stamps + name.encode() for name in names]
        commands = [Command(key, scripts.MAKE.call((key,)), scripts.MAKE) for key in keys]

        def decode(replies: list[Reply]) -> tuple[list[int], list[bool]]:
            new = [isinstance(reply, bytes) and reply.startswith(b"+") for reply in replies]
            bare = [
                reply[1:] if isinstance(reply, bytes) and plus else reply
                for reply, plus in zip(replies, new, strict=True)
            ]
            return [whole(reply) for reply in bare], new

        return commands, decode

    def bump(self, names: Sequence[str]) -> Request[list[int]]:
        """New stamps for generations."""
        keys = [self.stamps + name.encode() for name in names]
        commands = [
            Command(key, scripts.BUMP.call((key, *self._noted)), scripts.BUMP) for key in keys
        ]
        return commands, lambda replies: [whole(reply) for reply in replies]

    def confirm(self, stamps: Sequence[tuple[str, int]]) -> list[Command]:
        """What gives generations at least these stamps, each with a write for WAIT to count."""
        commands: list[Command] = []
        for name, stamp in stamps:
            key = self.stamps + name.encode()
            touched = (key, self.leases.mark(key), *self._noted)
            call = scripts.CONFIRM.call(touched, stamp, _MARK_LIFE)
            commands.append(Command(key, call, scripts.CONFIRM))
        return commands

    def incr(self, key: str, amount: int, ttl: float | None) -> Request[int]:
        """Add to a number."""
        amount = whole_amount(amount)
        name = key.encode()
        call = scripts.INCR.call((name,), amount, 0 if ttl is None else millis(ttl))

        def decode(replies: list[Reply]) -> int:
            return whole(replies[0])

        return [Command(name, call, scripts.INCR)], decode

    def inspect(self, key: str) -> Request[Held | None]:
        """An entry and what it has left to live."""
        name = key.encode()
        commands = [Command(name, pack(b"GET", name)), Command(name, pack(b"PTTL", name))]

        def decode(replies: list[Reply]) -> Held | None:
            data, left = replies
            if not isinstance(data, bytes):
                return None
            rest = whole(left)
            return Held(data, math.inf if rest < 0 else rest / 1000)

        return commands, decode

    def _guard(self, key: bytes) -> bytes:
        return b"%b%b}" % (self._guards, key)

    def _place(self, entry: Entry) -> tuple[tuple[bytes, bytes], int]:
        key = entry.key.encode()
        return (key, self._guard(key)), millis(min(entry.ttl, self._max_ttl))


def least(replies: list[Reply]) -> int:
    """How many replicas have all that was written; 0 where nothing was."""
    return min([whole(reply) for reply in replies], default=0)


def decode_one(replies: list[Reply]) -> Fetched:
    """What the reply to `Requests.one` means."""
    data, guard = strings(replies[0], 2)
    return Fetched([data], [0 if guard is None else whole(guard)], [])
