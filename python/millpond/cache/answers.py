"""What a tier of somebody's own answers, looked at before it is used.

The tiers of millpond look at their servers' answers themselves. Another's mistake must not become
an error in the middle of a call: it counts as a tier that failed, and the message says what it is.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from millpond.errors import TierError
from millpond.tiers.base import Held

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.tiers.base import Tier

_log = logging.getLogger("millpond.tiers")
_STAMPS: Final = 1 << 64
_NOW: Final = 1 << 63  # microseconds; far off
_EACH: Final = frozenset(("store", "delete", "renew", "release"))
_STATES: Final = frozenset(("held", "taken", "landed", "absent"))


def is_ours(tier: Tier) -> bool:
    """Whether it is one of millpond's own."""
    return type(tier).__module__.startswith("millpond.tiers.")


def check(tier: str, op: str, args: tuple[Any, ...], answer: Any) -> None:
    """Look at what `op(*args, deadline)` gave.

    Raises:
        TierError: it is not what `millpond.tiers.base` promises.
    """
    try:
        sound = _is_sound(op, args, answer)
    except (TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise TierError(
            f"{tier}: what {op}() returned is not what a Tier promises; "
            "millpond.testing.tier_conformance says where",
            tier=tier,
            kind="damaged",
        )


def _is_sound(op: str, args: tuple[Any, ...], answer: Any) -> bool:
    if op == "fetch":
        data, guards, stamps = answer.data, answer.guards, answer.stamps
        return (
            len(data) == len(guards) == len(args[0])
            and all(one is None or type(one) is bytes for one in data)
            and all(map(_is_stamp, guards))
            and len(stamps) == len(args[1])
            and all(one is None or _is_stamp(one) for one in stamps)
        )
    if op in ("stamp", "bump"):
        return len(answer) == len(args[0]) and all(map(_is_stamp, answer))
    if op in _EACH:
        return len(answer) == len(args[0])
    if op == "acquire":
        left = answer.left
        return answer.state in _STATES and type(answer.fence) is int and left >= 0 and left < 1e9
    if op in ("incr", "confirm"):
        return type(answer) is int
    return op != "inspect" or answer is None or isinstance(answer, Held)


def _is_stamp(number: Any) -> bool:
    return type(number) is int and 0 <= number < _STAMPS


def clock(tier: Tier) -> Callable[[], int]:
    """The tier's `now`; this host's clock where that gives no time."""
    if is_ours(tier):
        return tier.now
    said = False

    def now() -> int:
        nonlocal said
        try:
            at: Any = tier.now()
            if type(at) is int and 0 <= at < _NOW:
                return at
            why: Any = None
        except Exception as error:  # noqa: BLE001 (a user's own tier may raise anything)
            why = error
        if not said:
            said = True
            _log.error("%s: now() gives no microseconds", tier.name, exc_info=why)
        return time.time_ns() // 1000

    return now
