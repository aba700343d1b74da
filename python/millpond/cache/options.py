"""Reading options: lives, sizes and counts, with errors that say what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from millpond import _engine
from millpond.errors import ConfigurationError, OptionTypeError

if TYPE_CHECKING:
    from millpond.cache._types import Duration

NO_LIMIT: Final = -1
MISSING: Final = _engine.MISSING
POLICIES: Final = ("lru", "lfu", "fifo", "sieve", "s3fifo")


class _Unset:
    """The default of an option that None means something for."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<not given>"


UNSET: Final[Any] = _Unset()


def life(given: Duration | None, option: str) -> int:
    """A life in ns, NO_LIMIT for None."""
    nanos = _engine.life_nanos(given, option)
    return NO_LIMIT if nanos is None else nanos


def count(given: Any, option: str) -> int:
    """A bound on entries; NO_LIMIT for None."""
    if given is None:
        return NO_LIMIT
    if isinstance(given, bool) or not isinstance(given, int):
        raise OptionTypeError(f"{option}={given!r}: give an int of 0 or more, or None for no limit")
    if not 0 <= given < 2**31 - 1:
        raise ConfigurationError(
            f"{option}={given}: give an int from 0 (stores nothing) to 2**31 - 2, or None"
        )
    return given


def size(given: Any, option: str) -> int:
    """A bound on bytes, as an int or as text such as "256MiB"; NO_LIMIT for None."""
    if given is None:
        return NO_LIMIT
    if isinstance(given, str):
        return _engine.parse_size(given, option)
    if isinstance(given, bool) or not isinstance(given, int):
        raise OptionTypeError(
            f'{option}={given!r}: give a number of bytes, text such as "256MiB", or None'
        )
    if not 0 < given < 2**63:
        raise ConfigurationError(f"{option}={given}: give a positive number of bytes, or None")
    return given


def share(given: Any, option: str) -> float:
    """A number from 0 to 1."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise OptionTypeError(f"{option}={given!r}: give a number from 0 to 1")
    if not 0 <= given <= 1:
        raise ConfigurationError(f"{option}={given}: give a number from 0 to 1")
    return float(given)


def policy(given: str) -> str:
    """The name of a policy."""
    if given not in POLICIES:
        raise ConfigurationError(f"policy={given!r}: give one of {', '.join(POLICIES)}")
    return given


def tags(given: Any, option: str = "tags") -> tuple[str, ...] | str:
    """One tag, or several as a tuple; the engine looks at each."""
    if isinstance(given, str):
        return given
    try:
        return tuple(given)
    except TypeError:
        if hasattr(given, "__iter__"):
            raise
        raise OptionTypeError(f"{option}={given!r}: give a str or an iterable of str") from None


def name(given: Any, option: str) -> str | None:
    """A name for people and servers, or None."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise OptionTypeError(f"{option}={given!r}: give a str")
    if not (0 < len(given) <= 100 and given.isprintable()):
        raise ConfigurationError(f"{option}={given!r}: give 1 to 100 printable characters")
    return given


def loader(given: Any, takes: str) -> Any:
    """A function that loads, in place of its bare TypeError when it is called."""
    if not callable(given):
        raise OptionTypeError(f"loader={given!r}: give a function of {takes}")
    return given


def function(given: Any, option: str) -> Any:
    """A callable, or None."""
    if given is not None and not callable(given):
        raise OptionTypeError(f"{option}={given!r}: give a function, or None")
    return given
