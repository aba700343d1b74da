"""What functions are called in tiers, where other programs keep their entries too."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millpond import _engine
from millpond.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_NAMESPACE: Final = "millpond"
MARK: Final = ":~"  # how the key ends that says that a name is in use
_LONGEST: Final = 200  # characters of a namespace and a name together
_PLAIN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@/+,=<>()[]~"
)


class Name(NamedTuple):
    """A function's or a cache's name in tiers.

    Attributes:
        prefix: "{namespace}:{name}:{version}:", what the names of its entries begin with.
        generations: of the namespace, and of the function; every entry carries their stamps.
    """

    prefix: str
    generations: tuple[str, str]


def name_of(namespace: str, name: str, version: str | int) -> Name:
    """The name under which entries are shared.

    Example:
        >>> name_of("shop", "prices.load", 2).prefix
        'shop:prices.load:2:'
        >>> name_of("shop", "a name: {x}", 2).prefix
        'shop:a%20name%3A%20%7Bx%7D:2:'
    """
    prefix = f"{quoted(namespace)}:{quoted(name)}:{quoted(str(version))}:"
    if len(prefix) > _LONGEST:
        digest = hashlib.sha256(prefix.encode()).hexdigest()[:32]
        prefix = f"{prefix[: _LONGEST - 35]}~{digest}::"
    return Name(
        prefix,
        (_engine.generation_name("n", namespace), _engine.generation_name("f", prefix)),
    )


def quoted(text: str) -> str:
    """`text` without what separates names or means something to a server, percent-encoded."""
    if _PLAIN.issuperset(text):
        return text
    return "".join(
        one if one in _PLAIN else "".join(f"%{byte:02X}" for byte in one.encode("utf-8", "replace"))
        for one in text
    )


def tags(texts: Iterable[str]) -> list[str]:
    """The generation names of tags."""
    return [_engine.generation_name("t", text) for text in texts]


def function_name(function: Any, *, named: bool, own_program: bool) -> str:
    """The name of a function, "module.qualname", if it names one function and no other.

    Args:
        named: it was given a namespace or a key of its own.
        own_program: the Engine was given the program's name as its namespace.

    Raises:
        ConfigurationError: there may well be another function of that name.
    """
    module = getattr(function, "__module__", None) or "?"
    qualname = getattr(function, "__qualname__", None) or type(function).__qualname__
    reason, advice = None, ""
    if "<lambda>" in qualname:
        reason = "is a lambda, which has no name of its own"
    elif "<locals>" in qualname:
        reason = "is made inside a function, perhaps more than once"
    elif module == "__main__" and not own_program:
        reason = "is in __main__, which every program has"
        advice = 'name your program, Engine(namespace="shop"), or '
    if reason is not None and not named:
        raise ConfigurationError(
            f"with_cache: {module}.{qualname} {reason}, so what a tier has for it could be "
            f"another's; {advice}give the function namespace= or key=, or keep it in memory: "
            'tiers=("memory",)'
        )
    return f"{module}.{qualname}"
