"""What the tier's values look like to a Redis, and what its replies must look like to the tier."""

from __future__ import annotations

from typing import Final

from millpond.io.redis_wire import Damaged, Reply, pack

_SCAN_COUNT: Final = 512
# Stamps and guards, leases, and the log.
_NONE_OF_THEM: Final = (b"~g:", b"~l:", b"~h:")


def millis(seconds: float) -> int:
    """Milliseconds for PX and PEXPIRE, which take no 0: what lives shorter lives for one."""
    return max(1, min(int(seconds * 1000), 1 << 52))


def whole(reply: Reply) -> int:
    """A whole number, sent as one or as text."""
    if isinstance(reply, int):
        return reply
    if isinstance(reply, bytes) and reply.removeprefix(b"-").isdigit() and len(reply) <= 20:
        return int(reply)
    raise Damaged("no number")


def strings(reply: Reply, count: int) -> list[bytes | None]:
    """A list of so many strings, or None where there is nothing."""
    if not isinstance(reply, list) or len(reply) != count:
        raise Damaged("another number of items")
    found: list[bytes | None] = []
    for item in reply:
        if item is not None and not isinstance(item, bytes):
            raise Damaged("no string")
        found.append(item)
    return found


def scan(prefix: str, cursor: bytes) -> bytes:
    """SCAN for the next page of the keys that begin with `prefix`, whatever is in it."""
    pattern = "".join(f"\\{c}" if c in "*?[]\\^" else c for c in prefix) + "*"
    return pack(b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", _SCAN_COUNT)


def scanned(replies: list[Reply]) -> tuple[bytes, list[str]]:
    """The cursor of the next page, and the entries' keys of this one."""
    match replies:
        case [[bytes(cursor), list(keys)]]:
            names = [key for key in keys if isinstance(key, bytes) and key.isascii()]
            return cursor, [key.decode() for key in names if not key.startswith(_NONE_OF_THEM)]
        case _:
            raise Damaged("no page of keys")
