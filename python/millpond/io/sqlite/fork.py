"""SQLite and fork: no connection is open at the moment of one.

SQLite knows the locks that a process holds by a table in the process's memory. A child of fork
inherits the table but none of the locks, and every connection that it opens to the same file trusts
that table, so a connection that was open at the fork spoils the file for the child however late
it opens its own. So before a fork every connection is closed, in the parent, where that is allowed;
parent and child open theirs again when they need them.

Where that fails (a statement that runs for longer than is waited for, a fork that skips Python's
hooks) the child keeps away from the file, and from the connections: to close one there would give
up locks that the parent counts on.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from millpond.io import forks

if TYPE_CHECKING:
    import sqlite3

# Seconds that a fork waits, at most, for statements that run.
PATIENCE = 1.0


class Forkable(Protocol):
    """What has connections."""

    def freeze(self, until: float) -> None:
        """Close all connections and open none until `thaw`, or give up at that moment."""
        ...

    def thaw(self) -> None:
        """Go on, in the parent."""
        ...

    def forked(self) -> None:
        """Begin anew, in the child: the locks are as they were, the other threads are gone."""
        ...


_forkables: WeakSet[Forkable] = WeakSet()
_frozen: WeakSet[Forkable] = WeakSet()
# Connections of a parent, which its children must never close.
_abandoned: list[sqlite3.Connection] = []
_registered = False


def take_care_of(forkable: Forkable) -> None:
    """Call its methods at every fork from now on, while it lives."""
    global _registered
    if not _registered:
        _registered = True
        os.register_at_fork(before=_before, after_in_parent=_in_parent)
    _forkables.add(forkable)
    forks.tell(forkable)


def abandon(connection: sqlite3.Connection) -> None:
    """Keep a parent's connection for as long as this process lives."""
    _abandoned.append(connection)


def _before() -> None:
    until = time.monotonic() + PATIENCE
    _frozen.clear()
    for forkable in list(_forkables):
        _frozen.add(forkable)
        forkable.freeze(until)


def _in_parent() -> None:
    for forkable in list(_frozen):
        forkable.thaw()
