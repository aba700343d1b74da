"""Patterns over shared names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from millpond import Engine
from millpond.cache import inspection
from millpond.cache.names import name_of
from millpond.cache.patterns import pattern_of
from millpond.errors import ConfigurationError, OptionTypeError, UnsupportedError

NAMES = [
    "shop:prices.load:1:",
    "shop:prices.load:2:",
    "shop:prices.loader:1:",
    "shop:cache.users:1:",
    "shop%3A2:prices.load:1:",
    "web:a[b]:1:",
    name_of("shop", "prices." + "x" * 300, 1).prefix,
]
PRICES = [name for name in NAMES if name.startswith("shop:prices")]


@pytest.mark.parametrize(
    ("way", "given", "found"),
    [
        ("prefix", "", NAMES),
        ("prefix", "shop:", [*PRICES, "shop:cache.users:1:"]),
        ("prefix", "shop:prices.load:", PRICES[:2]),
        ("prefix", "shop:prices.load:2:", ["shop:prices.load:2:"]),
        ("prefix", "hop", []),
        ("glob", "shop:prices*", PRICES),
        ("glob", "shop:prices.load:?", PRICES[:2]),
        ("glob", "shop:prices.load:*:*", PRICES[:2]),
        ("glob", "shop:prices.load", []),
        ("glob", "shop:prices.load:[!1]", ["shop:prices.load:2:"]),
        ("glob", "*:1", [name for name in NAMES if name.endswith(":1:")]),
        ("glob", "web:a[[]b]:1:", ["web:a[b]:1:"]),
        ("regex", r"shop:prices\.load(er)?:1:", [PRICES[0], PRICES[2]]),
        ("regex", r"shop:pricesx?\.loade?", PRICES[:3]),
        ("regex", "shop:pricesx*", PRICES),
        ("regex", "shop:prices{1}", PRICES),
        ("regex", "web|shop:cache", ["shop:cache.users:1:", "web:a[b]:1:"]),
        ("regex", "(?i)SHOP:PRICES", PRICES),
        ("regex", re.compile("SHOP:CACHE", re.IGNORECASE), ["shop:cache.users:1:"]),
        ("regex", r"(?:shop|web):[^:]*:1:.*", [PRICES[0], PRICES[2], NAMES[3], NAMES[5]]),
        ("regex", "hop", []),
    ],
)
def test_names_that_match(way: str, given: Any, found: list[str]) -> None:
    pattern = pattern_of(way, given)
    assert sorted(name for name in NAMES if pattern.matches(name)) == sorted(found)
    # What a tier is asked for must not leave out what matches.
    assert all(name.startswith(pattern.literal) for name in found)


@pytest.mark.parametrize(
    ("way", "given", "literal"),
    [
        ("prefix", "shop:pri", "shop:pri"),
        ("glob", "shop:pri*ces", "shop:pri"),
        ("glob", "shop:pri?es", "shop:pri"),
        ("glob", "shop:f:1:*", "shop:f:1:"),
        ("regex", r"shop:prices\.load", "shop:prices"),
        ("regex", "shop:prices*", "shop:price"),
        ("regex", "shop:prices+", "shop:prices"),
        ("regex", "a|b", ""),
        ("regex", re.compile("shop x", re.VERBOSE), ""),
    ],
)
def test_tiers_are_asked_for_no_more_than_needed(way: str, given: Any, literal: str) -> None:
    assert pattern_of(way, given).literal == literal


@pytest.mark.parametrize(
    ("way", "given"),
    [
        ("prefix", "shop:prices.load:1:0f"),
        ("prefix", "shop:prices.load:1::"),
        ("glob", "shop:*:*:0f*"),
        ("regex", r"shop:[^:]*:\d:0f"),
        ("regex", r"(?:shop|web):a:1:[0-9]"),
    ],
)
def test_what_is_only_a_hash_is_refused(way: str, given: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^{way}=.* is a hash of the arguments"):
        pattern_of(way, given)


def test_other_things_are_refused() -> None:
    with pytest.raises(OptionTypeError, match=r"prefix=7: give a str$"):
        pattern_of("prefix", 7)
    with pytest.raises(OptionTypeError, match="or a compiled pattern of str"):
        pattern_of("regex", re.compile(b"x"))
    with pytest.raises(ConfigurationError, match=r"regex='\(': missing \)"):
        pattern_of("regex", "(")
    with Engine(database=False) as mill:
        with pytest.raises(OptionTypeError, match=r"exactly one of tags=.*, regex="):
            mill.invalidate(prefix="a", glob="b")
        with pytest.raises(UnsupportedError):
            mill.invalidate(prefix="a:b:c:d")


def test_functions_that_stay_in_memory_have_names_too() -> None:
    with Engine(database=False, namespace="shop") as mill:

        @mill.with_cache
        def double(x: int) -> int:
            return 2 * x

        @mill.with_cache(namespace="other")
        def half(x: int) -> float:
            return x / 2

        users = mill.cache("users")
        double(1), double(2), half(4)
        users.set("ada", 1)
        assert mill.invalidate(glob="shop:*double:1").memory == 2
        assert (double.cache_contains(1), half.cache_contains(4)) == (False, True)
        assert mill.invalidate(prefix="other:").memory == 1
        assert users.get("ada") == 1
        assert mill.invalidate(regex="shop:cache.users").memory == 1
        assert users.get("ada") is None


def test_only_keys_of_ours_tell_names() -> None:
    digest = "0f" * 32
    prefix = name_of("shop", "f", 1).prefix
    long = name_of("shop", "f" * 300, 1).prefix
    longest = name_of("é" * 100, "f", 1).prefix
    ours = [prefix + digest, f"{prefix}{digest}~n", prefix + "~", long + digest, longest + "~"]
    theirs = ["sess:1:2:3", "shop:f:1:", f"~l:shop:{{{prefix}{digest}}}", digest, f"a:{digest}"]
    assert inspection._prefixes_of(ours + theirs) == {prefix, long, longest}
