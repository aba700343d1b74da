"""What begins anew in the child of a fork: one hook for all of it.

Of the parent's threads a child has only the one that forked, so a lock that another held stays held
for ever, and what another was to do is never done. Its connections are copies of the parent's: a
child lets go of its copies and says nothing over them, for the other end hears both.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """What has locks, threads or connections."""

    def forked(self) -> None:
        """Begin anew, in the child. Others may not have done so yet: rely on none of them."""
        ...


_told: WeakSet[Forked] = WeakSet()


def tell(one: Forked) -> None:
    """Call its `forked` in every child from now on, while it lives."""
    _told.add(one)


def _in_child() -> None:
    for one in list(_told):
        one.forked()


os.register_at_fork(after_in_child=_in_child)
