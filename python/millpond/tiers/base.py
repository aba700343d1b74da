"""`Tier`: what a store behind the memory must do to serve as one.

A tier keeps *entries*: bytes under a key, for a while. It does not look into them. Beside the
entries it keeps *generations*, by which the entries are invalidated:

- A **generation name** stands for a tag, a function or a namespace. Its *stamp* is a number that
  never repeats: `max(microseconds of the tier's clock, old + 1)`. An entry carries the stamps
  under which it was stored, and its reader compares them with the present ones: one that differs,
  or is missing, makes the entry a miss. So invalidating a tag is one `bump`, however many entries
  have it.
- A **guard** is the stamp of a single key, 0 while it has none. `write` and `delete` raise it;
  `store`, which fills in what a load brought, is refused unless the guard is still the one that
  `fetch` reported before the load. So an invalidation wins over every load that began before it.

Every call takes a `Deadline` for all of it, steps and retries included, and raises `TierError` (or
`TierTimeoutError`) within a few milliseconds of it. Nothing is retried but a call whose pooled
connection turns out to have been closed before it was used. Methods named `a...` do the same in
an event loop, without blocking it for longer than a local database takes to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from typing_extensions import Buffer

    from millpond.io.deadline import Deadline


class Entry(NamedTuple):
    """What is to be stored.

    Attributes:
        key: "{namespace}:{name}:{version}:{hash}", at most 512 characters of printable ASCII
            without spaces and braces.
        data: the entry.
        ttl: seconds that it lives from now, more than 0.
        guard: what `fetch` reported for the key before the load began; `write` ignores it.
        fence: of the lease under which it was loaded, which `store` ends; 0 if there is none.
    """

    key: str
    data: bytes
    ttl: float
    guard: int = 0
    fence: int = 0


class Fetched(NamedTuple):
    """What `fetch` found, each list in the order of what was asked.

    Attributes:
        data: the entries; None where there is none, or its life is over.
        guards: the guards of the keys.
        stamps: the stamps of the generation names; None where there is none.
    """

    data: list[bytes | None]
    guards: list[int]
    stamps: list[int | None]


class Listener(Protocol):
    """Who wants to know what others do to a tier. Called from any thread."""

    def changed(self, names: Sequence[str], keys: Sequence[str]) -> None:
        """These generations have new stamps, and these keys new guards."""
        ...

    def everything(self) -> None:
        """What was held may be old: a part of what others did was not heard."""
        ...

    def alive(self, seconds: float) -> None:
        """All that was done until now has been told; so many seconds from now it may not be."""
        ...

    def up(self, yes: bool) -> None:
        """Whether what others do is heard at once, from now on."""
        ...


@runtime_checkable
class Feed(Protocol):
    """A tier that tells what others do to it, if it can. A tier without it is asked more often."""

    def watch(self, listener: Listener, grace: float) -> None:
        """Tell from now on; whoever is told nothing for `grace` seconds may trust nothing held."""
        ...

    def unwatch(self) -> None:
        """Tell no more, and give back what that took."""
        ...


class Changes(NamedTuple):
    """What was invalidated, by whatever process: generation names and keys, up to entry `seq`."""

    seq: int
    names: list[str]
    keys: list[str]


@runtime_checkable
class Logged(Protocol):
    """A tier on this machine that keeps a log of what was invalidated, and a number in memory that
    changes with it, so that nobody has to be told.
    """

    def stamp_word(self, deadline: Deadline) -> Buffer:
        """The number: 8 bytes that are mapped into every process."""
        ...

    def changes(self, since: int, deadline: Deadline) -> Changes | None:
        """What was invalidated after `since`; None when that is no longer known."""
        ...

    def last_change(self, deadline: Deadline) -> int:
        """The `seq` of the newest change, 0 if there never was one."""
        ...


# What becomes of a lease: a value was stored; the load brought none that is stored; it failed.
Outcome = Literal["landed", "none", "failed"]


class Lease(NamedTuple):
    """What `Leases.acquire` says.

    Attributes:
        state: "held": it is the caller's now. "taken": another has it. "landed": there is an entry
            now, so there is nothing to load. "absent": the tier can keep no leases at present.
        fence: whose it is.
        left: seconds until it ends unless it is renewed.
    """

    state: Literal["held", "taken", "landed", "absent"]
    fence: int = 0
    left: float = 0.0


class Waiting(Protocol):
    """Who waits for leases of others. Called from any thread; neither blocks nor raises."""

    def over(self, key: str, fence: int, outcome: Outcome) -> None:
        """A lease that was found taken is over."""
        ...

    def up(self, yes: bool) -> None:
        """Whether that is told, from now on."""
        ...


@runtime_checkable
class Leases(Protocol):
    """A tier by which processes agree who loads a value, so that the others need not.

    A lease is known by its `fence`, a number above 0 that its taker draws and nobody draws twice.
    It ends when its holder stores an entry that carries the fence, gives it back, or has not
    renewed it in time. `store` refuses an entry with a fence unless that lease still stands, so a
    holder that was held up cannot put an old value in the place of a newer one.

    Attributes:
        ends_kept: whether who waits is told of the end at the latest when it asks again. Else a
            lease may be gone without a word though its holder has ended it.
    """

    ends_kept: bool

    def tell(self, waiting: Waiting | None) -> None:
        """Tell `waiting` what becomes of leases that are found taken, as far as it can be told."""
        ...

    def acquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        """Take the lease of a key, or be told when it is over.

        Args:
            fence: the caller's. One that has the lease already holds it on.
            seen: how the entry begins that was found and is of no use; b"" where there was none.
                Any other entry is "landed".
        """
        ...

    async def aacquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease: ...

    def renew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        """So many seconds more for leases, by key and fence; False for one that is over."""
        ...

    async def arenew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]: ...

    def release(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        """Give leases back and tell those who wait; False for one that was over."""
        ...

    async def arelease(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]: ...


@runtime_checkable
class Replicated(Protocol):
    """A tier whose server has replicas. Should one take its place, what it lacks is lost."""

    def confirm(self, stamps: Sequence[tuple[str, int]], replicas: int, deadline: Deadline) -> int:
        """Have generations keep these stamps, also when a replica takes the server's place.

        One whose stamp is lower, or lost, gets it again; a higher one stays.

        Returns:
            how many replicas have them, as soon as so many have, or when the time is over.
        """
        ...

    async def aconfirm(
        self, stamps: Sequence[tuple[str, int]], replicas: int, deadline: Deadline
    ) -> int: ...


class Held(NamedTuple):
    """What `inspect` says of an entry: its bytes, and the seconds that it has left to live."""

    data: bytes
    ttl: float


@runtime_checkable
class Tier(Protocol):
    """A store behind the memory. Safe to use from several threads and event loops at once.

    Attributes:
        name: what it is called in statistics and options: "redis", "sqlite", "postgresql".
        shared: whether other hosts reach it too.
        timeout: seconds that one operation may take, at most.
        max_ttl: seconds that an entry stays at most.
    """

    name: str
    shared: bool
    timeout: float
    max_ttl: float

    def open(self, deadline: Deadline) -> None:
        """Make ready: connect, create or check what is needed. Calls may come without it."""
        ...

    def close(self) -> None:
        """Give everything back; what is under way fails. It may be opened again."""
        ...

    async def aclose(self) -> None:
        """The same, in an event loop."""
        ...

    def fetch(self, keys: Sequence[str], names: Sequence[str], deadline: Deadline) -> Fetched:
        """Entries and guards of keys, and stamps of generation names, in one round trip."""
        ...

    async def afetch(
        self, keys: Sequence[str], names: Sequence[str], deadline: Deadline
    ) -> Fetched: ...

    def stamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        """Stamps of generation names, made where there are none."""
        ...

    async def astamp(self, names: Sequence[str], deadline: Deadline) -> list[int]: ...

    def store(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        """Fill in what loads brought; False for an entry whose guard or fence is not its own."""
        ...

    async def astore(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]: ...

    def write(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        """Store whatever is there, and raise the guards: what others hold of the keys is old."""
        ...

    async def awrite(self, entries: Sequence[Entry], deadline: Deadline) -> None: ...

    def delete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        """Remove entries and raise the guards; whether each was there."""
        ...

    async def adelete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]: ...

    def bump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        """New stamps for generation names: every entry that carries an older one is a miss."""
        ...

    async def abump(self, names: Sequence[str], deadline: Deadline) -> list[int]: ...

    def incr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        """Add to a whole number of 64 bits; `ttl` (None: for ever) counts from its first `incr`.

        Raises:
            LimitError: the sum does not fit in 64 bits; the number is unchanged.
        """
        ...

    async def aincr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int: ...

    def inspect(self, key: str, deadline: Deadline) -> Held | None:
        """The entry of a key and what it has left to live; for people, not for calls."""
        ...

    async def ainspect(self, key: str, deadline: Deadline) -> Held | None: ...

    def scan(self, prefix: str, deadline: Deadline) -> Iterator[list[str]]:
        """The keys that begin with `prefix`, in batches, without holding up others."""
        ...

    def ascan(self, prefix: str, deadline: Deadline) -> AsyncIterator[list[str]]: ...

    def erase(self, keys: Sequence[str], deadline: Deadline) -> int:
        """Remove the bytes of entries for good, guards raised; how many there were."""
        ...

    async def aerase(self, keys: Sequence[str], deadline: Deadline) -> int: ...

    def now(self) -> int:
        """Microseconds since 1970 by the tier's own clock, as well as it is known here."""
        ...
