"""Patterns over the names under which entries are shared: "{namespace}:{name}:{version}:"."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Any, Final, final

from millpond.errors import ConfigurationError, OptionTypeError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

_GLOB_SPECIAL: Final = re.compile(r"[*?\[]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_:,@/=%<>~-]*")
# Where colons need not be those of names: escapes, sets of characters, and the heads of groups.
_INSIDE: Final = re.compile(r"\\.|\[[\^!]?\]?[^]]*\]|\(\?(?:[a-zA-Z-]*:|P?<[^>]*>|[a-zA-Z-]+\))")
_ANYTHING: Final = ("", "*", ".*", ".*$", "$", ".+", ".+$", r"\Z")


@final
class Pattern:
    """Names that begin with a text, or match a shell pattern or a regular expression.

    Attributes:
        literal: what every name begins with that matches.
        matches: whether a name, "{namespace}:{name}:{version}:", does.
    """

    __slots__ = ("literal", "matches")

    def __init__(self, literal: str, matches: Callable[[str], bool]) -> None:
        self.literal = literal
        self.matches = matches


def pattern_of(way: str, given: Any) -> Pattern:
    """The pattern that `prefix=`, `glob=` or `regex=` gives.

    Raises:
        OptionTypeError: it is not a str (or, as regex, a compiled pattern of str).
        ConfigurationError: a regex that cannot be compiled.
        UnsupportedError: it tells entries of one function apart, which only have a hash.

    Example:
        >>> pattern_of("glob", "shop:prices.*").matches("shop:prices.load:2:")
        True
    """
    text = getattr(given, "pattern", given) if way == "regex" else given
    if not isinstance(text, str):
        also = ", or a compiled pattern of str" if way == "regex" else ""
        raise OptionTypeError(f"{way}={given!r}: give a str{also}")
    if way == "regex":
        try:
            return _regex(re.compile(given))
        except re.error as error:
            raise ConfigurationError(f"regex={given!r}: {error}") from error
    return _prefix(given) if way == "prefix" else _glob(given)


def _prefix(given: str) -> Pattern:
    _check("prefix", given, given)
    return Pattern(given, lambda name: name.startswith(given))


def _glob(given: str) -> Pattern:
    last = _check("glob", given, _INSIDE.sub("?", given))
    wanted = given if last is None else given[: len(given) - len(last)]
    matcher = re.compile(fnmatch.translate(wanted.rstrip(":")))
    special = _GLOB_SPECIAL.search(given)
    literal = wanted if special is None else wanted[: special.start()]
    return Pattern(literal, lambda name: matcher.match(name.rstrip(":")) is not None)


def _regex(given: re.Pattern[str]) -> Pattern:
    _check("regex", given.pattern, _INSIDE.sub("?", given.pattern))
    return Pattern(_literal(given), lambda name: given.match(name) is not None)


def _literal(given: re.Pattern[str]) -> str:
    """What all that matches begins with; as much of it as can be told without a parser."""
    text = given.pattern
    if given.flags & (re.IGNORECASE | re.VERBOSE) or "|" in text:
        return ""
    plain = _PLAIN.match(text)
    found = "" if plain is None else plain.group()
    return found[:-1] if text[len(found) : len(found) + 1] in ("*", "?", "{") else found


def _check(way: str, given: str, text: str) -> str | None:
    """What follows the third colon, if that is anything, or nothing; None if it has not so many.

    Raises:
        UnsupportedError: it follows there which hash is meant.
    """
    parts = text.split(":", 3)
    if len(parts) < 4:
        return None
    if parts[3].strip(")") not in _ANYTHING:
        raise UnsupportedError(
            f"{way}={given!r}: what follows the third ':' is a hash of the arguments; patterns are "
            "for {namespace}:{name}:{version}, and single calls for cache_invalidate(…)"
        )
    return parts[3]
