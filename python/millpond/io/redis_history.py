"""What was invalidated in a Redis while its feed was down, from a log that the server keeps.

Each script that raises a stamp adds the stamp's key to a stream of some thousand items. Their
numbers only grow, also when the server's clock is set back. Who has heard all up to a number, and
finds that item still there in the same run of the server, has missed what comes after it and no
more. If not, because the log was cut off, evicted or flushed or the server restarted, anything may
have been missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from millpond.io.redis_wire import Refusal, Reply, pack

if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[[bytes], Reply]

# More than a stream of 4,096 items holds, which is trimmed by the hundred.
_MOST: Final = 5000
_INFO: Final = pack(b"INFO", b"server")
_PING: Final = pack(b"PING")
_RUN: Final = b"run_id:"


@final
class History:
    """How far one feed has heard.

    Args:
        log: the stream's key; b"" where there is none, as in a Cluster, whose scripts may only
            touch what is in the slot of their entry.

    Attributes:
        beat: what to ask now and then; `passed` is given the answer.
    """

    def __init__(self, log: bytes) -> None:
        self._log = log
        self._last = pack(b"XREVRANGE", log, b"+", b"-", b"COUNT", 1)
        self.beat = self._last if log else _PING
        self._run = b""
        self._told = b""
        self._next = b""

    def run(self, ask: Ask) -> bool:
        """Whether the server is in the same run as the last time. Asks over RESP2."""
        before, self._run = self._run, _run_id(ask(_INFO)) if self._log else b""
        return bool(before) and before == self._run

    def missed(self, ask: Ask, same_run: bool) -> list[bytes] | None:
        """The keys that were touched since the last beat; None: nobody knows."""
        if not self._log:
            return None
        if same_run and self._told:
            since = pack(b"XRANGE", self._log, self._told, b"+", b"COUNT", _MOST)
            items = _items(ask(since))
            if items and items[0][0] == self._told and len(items) < _MOST:
                self._told = self._next = items[-1][0]
                return [key for _, key in items[1:] if key]
        self._told = self._next = self._latest(ask)
        return None

    def passed(self, answer: Reply) -> None:
        """A beat was answered. What was logged before the one before it has been pushed by now;
        of the latest it is not certain, as the server pushes at the end of a round of its loop.
        """
        items = _items(answer)
        self._told, self._next = self._next, items[0][0] if items else b""

    def _latest(self, ask: Ask) -> bytes:
        found = ask(self._last)
        if found != []:
            return next((number for number, _ in _items(found)), b"")
        # An item that says nothing: without any it could not be told whether some are missing.
        made = ask(pack(b"XADD", self._log, b"*", b"s", b""))
        return made if isinstance(made, bytes) else b""


def _run_id(reply: Reply) -> bytes:
    """Of what INFO says; b"" if the user may not ask."""
    lines = reply.splitlines() if isinstance(reply, bytes) else []
    return next((line[len(_RUN) :] for line in lines if line.startswith(_RUN)), b"")


def _items(reply: Reply) -> list[tuple[bytes, bytes]]:
    """Numbers and keys; none if that is not what was answered."""
    found: list[tuple[bytes, bytes]] = []
    if isinstance(reply, Refusal) or not isinstance(reply, list):
        return found
    for item in reply:
        match item:
            case [bytes(number), [_, bytes(key)]]:
                found.append((number, key))
            case _:
                return []
    return found
