"""Look-ups that ask a server for no stamp which its feed vouches for."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from millpond.tiers.base import Fetched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond._engine import GenerationTable


@final
class Partly:
    """The stamps of some generation names, as far as they are known.

    Args:
        table: what is known.
        names: what is wanted.

    Attributes:
        unknown: what the server has to be asked for.
    """

    __slots__ = ("_known", "_names", "_since", "_table", "unknown")

    def __init__(self, table: GenerationTable, names: Sequence[str]) -> None:
        self._table = table
        self._names = names
        self._since = table.sequence()
        self._known = table.known(names)
        self.unknown = [name for name, at in zip(names, self._known, strict=True) if at is None]

    def completed(self, found: Fetched) -> Fetched:
        """What the server answered, with the stamps that were known; its own are known now."""
        if not self.unknown:
            return Fetched(found.data, found.guards, self._known)
        for name, stamp in zip(self.unknown, found.stamps, strict=True):
            if stamp is not None:
                self._table.learn(name, stamp, self._since)
        new = iter(found.stamps)
        return Fetched(
            found.data, found.guards, [next(new) if at is None else at for at in self._known]
        )
