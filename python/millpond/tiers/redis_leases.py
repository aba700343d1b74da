"""Leases in a Redis: what is sent for them, and what is published when they end.

A lease lies under `~l:{engine namespace}:{{entry's key}}`, in the slot of its entry: the number
of its holder, then the workers that wait. Each worker, which is a tier of a process, hears of ends
on a channel of its own, `~w:{engine namespace}:{worker}`; so nobody else is told.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, final

from millpond.io import forks
from millpond.io import redis_scripts as scripts
from millpond.io.redis import Command
from millpond.io.redis_values import millis, whole
from millpond.io.redis_wire import Damaged
from millpond.tiers.base import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.io.redis_wire import Reply
    from millpond.tiers.base import Entry, Outcome, Waiting

_OUTCOMES: Final[dict[str, Outcome]] = {"landed": "landed", "none": "none", "failed": "failed"}


@final
class RedisLeases:
    """The leases of one tier, in commands and replies.

    Attributes:
        channel: where this worker is told.
        waiting: who is to be told.
    """

    def __init__(self, namespace: str) -> None:
        self._prefix = f"~l:{namespace}:{{".encode()
        self._channels = f"~w:{namespace}:".encode()
        self.waiting: Waiting | None = None
        self.forked()
        forks.tell(self)

    def forked(self) -> None:
        """Take a channel; also in the child of a fork, which is another worker."""
        self._worker = secrets.token_hex(8).encode()
        self.channel = self._channels + self._worker

    # ---- requests: what to send, and what the replies mean

    def acquire(
        self, key: str, fence: int, seconds: float, seen: bytes
    ) -> tuple[list[Command], Callable[[list[Reply]], Lease]]:
        entry = key.encode()
        call = scripts.ACQUIRE.call(
            (entry, self._lease(entry)), fence, millis(seconds), self._worker, seen
        )

        def decode(replies: list[Reply]) -> Lease:
            match replies[0]:
                case b"held":
                    return Lease("held", fence, seconds)
                case b"landed":
                    return Lease("landed")
                case bytes(text):
                    number, _, left = text.partition(b" ")
                    if number.isdigit() and left.isdigit():
                        return Lease("taken", int(number), int(left) / 1000)
                case _:
                    pass
            raise Damaged("no state of a lease")

        return [Command(entry, call, scripts.ACQUIRE)], decode

    def renew(
        self, leases: Sequence[tuple[str, int]], seconds: float
    ) -> tuple[list[Command], Callable[[list[Reply]], list[bool]]]:
        life = millis(seconds)
        commands: list[Command] = []
        for key, fence in leases:
            lease = self._lease(key.encode())
            commands.append(
                Command(lease, scripts.RENEW.call((lease,), fence, life), scripts.RENEW)
            )
        return commands, _truths

    def release(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome
    ) -> tuple[list[Command], Callable[[list[Reply]], list[bool]]]:
        commands: list[Command] = []
        for key, fence in leases:
            lease = self._lease(key.encode())
            text = _text(outcome, fence, key)
            call = scripts.RELEASE.call((lease,), self._channels, fence, text)
            commands.append(Command(lease, call, scripts.RELEASE))
        return commands, _truths

    def land(self, entry: Entry, keys: tuple[bytes, bytes], life: int) -> Command:
        """Stores an entry and ends the lease that it was loaded under."""
        call = scripts.LAND.call(
            (*keys, self._lease(keys[0])),
            self._channels,
            entry.fence,
            _text("landed", entry.fence, entry.key),
            _text("none", entry.fence, entry.key),
            entry.data,
            life,
            entry.guard,
        )
        return Command(keys[0], call, scripts.LAND)

    def mark(self, key: bytes) -> bytes:
        """A key in the slot of another, where this user may write and nobody is told."""
        return self._lease(key)

    def _lease(self, key: bytes) -> bytes:
        return b"%b%b}" % (self._prefix, key)

    # ---- what the feed says

    def heard(self, text: bytes) -> None:
        """A lease that this worker waits for is over."""
        waiting = self.waiting
        if waiting is None:
            return
        with suppress(ValueError):  # Somebody else's message: it says nothing to us.
            outcome, fence, key = text.decode().split(" ", 2)
            if outcome in _OUTCOMES:
                waiting.over(key, int(fence), _OUTCOMES[outcome])

    def up(self, yes: bool) -> None:
        """Whether it would be told."""
        if self.waiting is not None:
            self.waiting.up(yes)


def _text(outcome: Outcome, fence: int, key: str) -> bytes:
    return f"{outcome} {fence} {key}".encode()


def _truths(replies: list[Any]) -> list[bool]:
    return [whole(reply) == 1 for reply in replies]
