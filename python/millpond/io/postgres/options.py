"""Options that are numbers, within what is allowed."""

from __future__ import annotations

from millpond.errors import bad_option


def check_seconds(**options: float) -> None:
    """Raise ConfigurationError for one that is no time."""
    for option, given in options.items():
        if not 0 < given < float("inf"):
            raise bad_option(option, given, "a number of seconds > 0")


def check_bounds(**options: int) -> None:
    """Raise ConfigurationError for one that bounds nothing."""
    for option, given in options.items():
        if given < 1:
            raise bad_option(option, given, "a whole number >= 1")
