"""What counters count by."""

from __future__ import annotations

from typing import Final

from millpond.errors import LimitError, bad_option_type

_END: Final = 1 << 63


def whole_amount(amount: object) -> int:
    """An amount that a counter of 64 bits may be told.

    Raises:
        OptionTypeError: it is no whole number, and would never be one again in a store.
        LimitError: it has more than 64 bits.
    """
    if not isinstance(amount, int):
        raise bad_option_type("amount", amount, "a whole number")
    if not -_END <= amount < _END:
        raise LimitError("amount: allowed is a whole number of 64 bits")
    return int(amount)
