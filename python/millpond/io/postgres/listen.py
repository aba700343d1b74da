"""What others did, as the server tells it: NOTIFY's payloads, and a listener for them.

A payload has the writer and its namespace in the first line, and then a line for each name: "g" and
a generation name, or "k" and a key, which were invalidated; or "l", the outcome, fence and key of a
lease that is over. PostgreSQL takes payloads of less than 8,000 bytes.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple, final

from millpond.errors import TierError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.io.postgres.errors import Refusal, refused, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from millpond.io.postgres.address import Address
    from millpond.io.postgres.link import Link

_LARGEST: Final = 7900


class Ended(NamedTuple):
    """The end of a lease; `outcome` is the number in its row."""

    key: str
    fence: int
    outcome: int


class Notice(NamedTuple):
    """What was done. An empty one says that all that was done until now has been told.

    The first of a listener is empty, and then one every `beat` seconds.

    Attributes:
        origin: who did it: the `origin` of a tier.
        names: generation names.
        keys: keys of entries.
        ends: leases that are over, and awaited.
    """

    origin: str
    names: list[str]
    keys: list[str]
    ends: Sequence[Ended] = ()


def payloads(origin: str, namespace: str, kind: str, names: Iterable[str]) -> list[str]:
    """The payloads that tell of these names; `kind` is "g" or "k"."""
    head = f"{origin} {namespace}"
    found: list[str] = []
    lines, size = [head], len(head)
    for name in names:
        if size + len(name) + 2 > _LARGEST:
            found.append("\n".join(lines))
            lines, size = [head], len(head)
        lines.append(kind + name)
        size += len(name) + 2
    return [*found, "\n".join(lines)] if len(lines) > 1 else found


def end_payload(origin: str, namespace: str) -> bytes:
    """How the payload of the end of a lease begins, which a statement completes."""
    return f"{origin} {namespace}\nl".encode()


def read(payload: str, namespace: str) -> Notice | None:
    """The notice in a payload; None if it is not ours. Generations count in their namespace."""
    head, *lines = payload.split("\n")
    origin, _, theirs = head.partition(" ")
    names = [line[1:] for line in lines if line.startswith("g")] if theirs == namespace else []
    keys = [line[1:] for line in lines if line.startswith("k")]
    ends = tuple(end for line in lines if line.startswith("l") and (end := _end(line[1:])))
    return Notice(origin, names, keys, ends) if names or keys or ends else None


def _end(line: str) -> Ended | None:
    with contextlib.suppress(ValueError):  # Somebody else's: it says nothing to us.
        outcome, fence, key = line.split(" ", 2)
        return Ended(key, int(fence), int(outcome))
    return None


@final
class Listener:
    """A connection of its own that hears of invalidations until it breaks or is closed.

    A server that stops says nothing, so it is asked something every `beat` seconds; before it
    answers, it tells what was committed until then.

    Args:
        address: of the server itself; LISTEN does not work through a pooler.
        channel: that `payloads` go to.
        namespace: whose generations are of interest.
        timeout: seconds in which it must answer.
    """

    def __init__(
        self, address: Address, channel: str, namespace: str, *, timeout: float, beat: float
    ) -> None:
        self._address = address
        self._namespace = namespace
        self._timeout = timeout
        self._beat = beat
        self._script = f"LISTEN {channel}".encode()
        self._link: Link | None = None
        self._closed = False
        # When the server was asked, on the monotonic clock, what it last answered.
        self.sent = 0.0

    def close(self) -> None:
        """Let the loop end; from any thread."""
        self._closed = True
        link = self._link
        if link is not None:
            link.interrupt()

    def abandon(self) -> None:
        """Let go of it in the child of a fork, without a word to the server."""
        self._closed = True
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def heard(self) -> Iterator[Notice]:
        """Connect, and give every notice as it comes; ends when it is closed.

        Raises:
            TierError: the connection could not be made, or is gone. What happened meanwhile is
                lost: compare the generations before you listen again.
        """
        deadline = Deadline.after(self._timeout)
        link = self._begin(self._address.resolved(deadline))
        try:
            link.run(link.connecting(), deadline.at, "connecting")
            self._judge(link.run(link.telling(self._script), deadline.at, "listening"))
            self.sent = deadline.at - self._timeout
            yield Notice("", [], [])
            while not self._closed:
                beat = self.sent + self._beat
                yield from self._taken(link)
                with contextlib.suppress(TierTimeoutError):
                    link.run(link.hearing(), beat, "listening", again=False)
                    continue
                self.sent = time.monotonic()
                until = self.sent + self._timeout
                self._judge(link.run(link.telling(b""), until, "listening"))
                yield from self._taken(link)
                yield Notice("", [], [])
        except TierError:
            if not self._closed:
                raise
        finally:
            self._link = None
            link.close()

    async def aheard(self) -> AsyncIterator[Notice]:
        """The same, in an event loop."""
        deadline = Deadline.after(self._timeout)
        link = self._begin(await self._address.aresolved(deadline))
        try:
            await link.arun(link.connecting(), deadline.at, "connecting")
            self._judge(await link.arun(link.telling(self._script), deadline.at, "listening"))
            self.sent = deadline.at - self._timeout
            yield Notice("", [], [])
            while not self._closed:
                beat = self.sent + self._beat
                for notice in self._taken(link):
                    yield notice
                with contextlib.suppress(TierTimeoutError):
                    await link.arun(link.hearing(), beat, "listening", again=False)
                    continue
                self.sent = time.monotonic()
                until = self.sent + self._timeout
                self._judge(await link.arun(link.telling(b""), until, "listening"))
                for notice in self._taken(link):
                    yield notice
                yield Notice("", [], [])
        except TierError:
            if not self._closed:
                raise
        finally:
            self._link = None
            link.close()

    def _begin(self, conninfo: bytes) -> Link:
        from millpond.io.postgres.link import Link

        self._closed = False
        self._link = Link(conninfo, prepare=False)
        return self._link

    def _judge(self, answer: object) -> None:
        if isinstance(answer, Refusal):
            raise refused(answer)

    def _taken(self, link: Link) -> Iterator[Notice]:
        pgconn = link.pgconn
        while (note := pgconn.notifies()) is not None:
            found = read(note.extra.decode(errors="replace"), self._namespace)
            if found is not None:
                yield found
        pgconn.is_busy()  # By which libpq looks at what has come.
        if link.gone:
            raise unavailable("PostgreSQL ended the connection")
