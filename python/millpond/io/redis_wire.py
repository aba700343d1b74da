"""The language of Redis: commands to bytes, bytes to replies, refusals to kinds of errors.

Calls speak RESP2, which has no messages that nobody asked for: the n-th reply answers the n-th
command, whatever happens. Every Redis, Valkey and proxy speaks it. What listens for invalidations
speaks RESP3, where such messages come as a `Push` between the replies.

    int, bytes, None, list      what was asked for; a map is a list of keys and values in turn
    Refusal                     the server's "no": a value, since others of a batch may have worked
    Push                        a message that nobody asked for
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, TypeAlias, final

from millpond import _engine
from millpond.errors import TierError

if TYPE_CHECKING:
    from collections.abc import Iterable

# Redis takes no longer argument by default (proto-max-bulk-len), nor a command of more of them.
MAX_BULK: Final = 512 << 20
MAX_ITEMS: Final = 1 << 20
# A reply that runs on without an end of line is none.
MAX_LINE: Final = 64 << 10
_KIND_BYTES: Final = b"$*:+->%~_,#(!="
# CLUSTER SLOTS, the deepest reply, has lists in lists in lists.
MAX_DEPTH: Final = 8

MOVED: Final = "MOVED"
ASK: Final = "ASK"
NOSCRIPT: Final = "NOSCRIPT"


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An error that the server replied with.

    Attributes:
        code: its first word: "OOM", "NOAUTH", "ERR".
        rest: what follows. It may name a key, so it goes into no message.
    """

    code: str
    rest: str


Reply: TypeAlias = "bytes | int | Refusal | list[Reply] | None"


class Damaged(Exception):  # noqa: N818 - turned into a TierError where the tier's name is known
    """These bytes are no reply; what follows them on the connection means nothing."""


def pack(*arguments: bytes | int) -> bytes:
    """A command as the server reads it.

    >>> pack(b"GET", b"key")
    b'*2\\r\\n$3\\r\\nGET\\r\\n$3\\r\\nkey\\r\\n'
    """
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = b"%d" % argument if isinstance(argument, int) else argument
        parts.append(b"$%d\r\n" % len(data))
        parts.append(data)
        parts.append(b"\r\n")
    return b"".join(parts)


@final
class Push(list["Reply"]):
    """A message that the server sends unasked: what it is about, and its parts."""

    __slots__ = ()


class _Begun:
    """A list that has begun, and how many items it still lacks."""

    __slots__ = ("items", "missing")

    def __init__(self, items: list[Reply], missing: int) -> None:
        self.items = items
        self.missing = missing

    def take_strings(self, data: bytes, at: int) -> int:
        """Add the strings that have arrived, but for the last item; the place behind them."""
        found, at = _engine.redis_strings(data, at, self.missing - 1)
        self.items += found
        self.missing -= len(found)
        return at


@final
class Replies:
    """Puts replies together from what arrives, in pieces of any size.

    Nothing is looked at twice: a list that has begun is kept, and of a string that has not wholly
    arrived it is known how many bytes to wait for. Linear in the bytes, however they are cut.

    Example:
        >>> replies, found = Replies(), []
        >>> replies.feed(b"*2\\r\\n$3\\r\\none\\r\\n$", found, most=1)
        b''
        >>> replies.feed(b"-1\\r\\n", found, most=1)
        b''
        >>> found
        [[b'one', None]]
    """

    __slots__ = ("_lists", "_need", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = 0
        # The lists that have begun, outermost first.
        self._lists: list[_Begun] = []

    @property
    def idle(self) -> bool:
        """Whether no reply has begun."""
        return not self._rest and not self._lists

    def feed(self, data: bytes, into: list[Reply], most: int) -> bytes:
        """Add up to `most` whole replies to `into`; return the bytes beyond them, if any.

        Raises:
            Damaged: this is no reply.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return b""
            data = bytes(self._rest)
            self._rest.clear()
        at, size = 0, len(data)
        lists = self._lists
        reply: Reply
        while at < size and most:
            if lists and data[at] == 36 and lists[-1].missing > 1:
                at = lists[-1].take_strings(data, at)
                if at == size:
                    break
            end = data.find(b"\r\n", at)
            if end < 0:
                if size - at > MAX_LINE or data[at] not in _KIND_BYTES:
                    raise Damaged("what is no reply")
                return self._wait(data, at, size + 1)
            kind = data[at]
            number = data[at + 1 : end]
            at_next = end + 2
            if kind == 36:  # $
                if number.isdigit() and end - at < 16:
                    stop = at_next + int(number)
                    if stop - at_next > MAX_BULK:
                        raise Damaged("a string longer than Redis sends")
                    if size < stop + 2:
                        return self._wait(data, at, stop + 2)
                    if data[stop] != 13 or data[stop + 1] != 10:
                        raise Damaged("a string that does not end where it says")
                    reply = data[at_next:stop]
                    at = stop + 2
                elif number == b"-1":
                    reply, at = None, at_next
                else:
                    raise Damaged("a length that is none")
            elif kind == 42:  # *
                at = at_next
                count = _number(number)
                if count > 0:
                    if count > MAX_ITEMS or len(lists) == MAX_DEPTH:
                        raise Damaged("more items than Redis sends")
                    lists.append(_Begun([], count))
                    continue
                reply = [] if count == 0 else None
            elif kind in _RESP3_LISTS:
                at = at_next
                count = _number(number) * (2 if kind == 37 else 1)
                if not 0 < count <= MAX_ITEMS or len(lists) == MAX_DEPTH:
                    raise Damaged("more or fewer items than Redis sends")
                lists.append(_Begun(Push() if kind == 62 else [], count))
                continue
            else:
                reply, at = _line(kind, number), at_next
            while lists:
                begun = lists[-1]
                begun.items.append(reply)
                begun.missing -= 1
                if begun.missing:
                    break
                reply = begun.items
                lists.pop()
            else:
                into.append(reply)
                most -= 1
        return data[at:] if at < size else b""

    def _wait(self, data: bytes, at: int, need: int) -> bytes:
        self._rest += data[at:]
        self._need = need - at
        return b""


_RESP3_LISTS: Final = frozenset(b">%~")


def _line(kind: int, line: bytes) -> Reply:
    if kind == 58:  # :
        return _number(line)
    if kind == 43:  # +
        return line
    if kind == 45:  # -
        code, _, rest = line.decode("utf-8", "replace").partition(" ")
        return Refusal(code, rest)
    if kind == 95:  # _
        return None
    if kind in (35, 44):  # a truth value, a fraction: nothing that we ask for has one
        return line
    raise Damaged("what is no reply")


def _number(digits: bytes) -> int:
    # int() takes more than Redis writes: spaces, underscores, a plus.
    if not (digits[1:] if digits[:1] == b"-" else digits).isdigit() or len(digits) > 20:
        raise Damaged("a number that is none")
    return int(digits)


def known(code: str) -> bool:
    """Whether this is the first word of a refusal, rather than of a sentence."""
    return code in _KINDS


# What a server's refusals mean to a caller; "configuration" is what no waiting mends.
_KINDS: Final = {
    "LOADING": "not_ready",
    "MASTERDOWN": "not_ready",
    "READONLY": "not_ready",
    "CLUSTERDOWN": "not_ready",
    "TRYAGAIN": "not_ready",
    "NOREPLICAS": "not_ready",
    "NOGOODSLAVE": "not_ready",
    "BUSY": "not_ready",
    "UNKILLABLE": "not_ready",
    "NOSCRIPT": "not_ready",
    "MOVED": "not_ready",
    "ASK": "not_ready",
    "MISCONF": "full",
    "OOM": "full",
    "NOAUTH": "configuration",
    "NOPERM": "configuration",
    "WRONGPASS": "configuration",
    "DENIED": "configuration",
    "NOPROTO": "configuration",
    "CROSSSLOT": "configuration",
    "WRONGTYPE": "damaged",
}
_MEANINGS: Final = {
    "LOADING": "it is loading its data",
    "MASTERDOWN": "it has lost its primary",
    "READONLY": "it is a replica and takes no writes",
    "CLUSTERDOWN": "its cluster does not serve all slots",
    "TRYAGAIN": "its cluster is moving a slot",
    "NOREPLICAS": "it has too few replicas to write",
    "BUSY": "a script runs too long on it",
    "MISCONF": "it cannot save its data and takes no writes",
    "OOM": "its memory is full and it may evict nothing; see maxmemory-policy",
    "NOAUTH": "it wants a password",
    "NOPERM": "the user may not do this; docs/guide/redis.md lists the rights that it needs",
    "WRONGPASS": "user name or password is wrong, or the user is off",
    "DENIED": "it runs in protected mode; set a password",
    "WRONGTYPE": "another program keeps something else under the same key",
}


def refused(refusal: Refusal, tier: str) -> TierError:
    """The error for a refusal; raise what it returns."""
    code, rest = refusal.code, refusal.rest
    if not (code.isascii() and code.isalpha() and code.isupper()):
        code = "an error"
    kind = _KINDS.get(code)
    meaning = _MEANINGS.get(code)
    if kind is None:
        kind, meaning = _plain(rest)
    text = f"{tier} refused a command with {code}" + (f": {meaning}" if meaning else "")
    return TierError(text, tier=tier, kind=kind)


def _plain(rest: str) -> tuple[str, str]:
    """What the refusals say that begin with plain ERR. Redis has no other name for these."""
    if "executing the script can't" in rest or "ACL failure" in rest:
        return "configuration", _MEANINGS["NOPERM"]
    if "DB index" in rest:
        return "configuration", "there is no database of that number"
    if rest.startswith(("unknown command", "unknown subcommand", "Unknown")):
        return "configuration", "it does not know the command; Redis 6.2 and later do"
    if "without any password configured" in rest or "AUTH" in rest:
        return "configuration", "it has no password, but one was given"
    if "not an integer" in rest:
        return "damaged", "what is stored is no number"
    if "max number of clients" in rest:
        return "unavailable", "it has too many clients; see maxclients"
    return "unavailable", ""


def first_refusal(replies: Iterable[Reply]) -> Refusal | None:
    """The first refusal among replies, if there is one."""
    return next((reply for reply in replies if isinstance(reply, Refusal)), None)
