"""How the arguments of a function are bound: the description that the engine makes its plan of."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from millpond._engine import MISSING
from millpond.errors import ConfigurationError, OptionTypeError

if TYPE_CHECKING:
    from collections.abc import Collection

# Bits of co_flags; `inspect` has them too, and costs 20 ms to import.
VAR_POSITIONAL: Final = 0x04
VAR_NAMED: Final = 0x08
GENERATOR: Final = 0x20
COROUTINE: Final = 0x80
ASYNC_GENERATOR: Final = 0x200


class Signature:
    """Names, defaults and kinds of parameters."""

    __slots__ = (
        "defaults",
        "names",
        "positional",
        "positional_only",
        "var_named",
        "var_positional",
    )

    def __init__(self) -> None:
        self.names: list[str] = []
        self.defaults: list[Any] = []
        self.positional_only = 0
        self.positional = 0
        self.var_positional = False
        self.var_named = False


def _from_code(function: FunctionType) -> Signature:
    found = Signature()
    code = function.__code__
    keyword_only = code.co_kwonlyargcount
    found.positional_only = code.co_posonlyargcount
    found.positional = code.co_argcount
    found.names = list(code.co_varnames[: code.co_argcount + keyword_only])
    given = function.__defaults__ or ()
    named: dict[str, Any] = function.__kwdefaults__ or {}
    found.defaults = [MISSING] * (code.co_argcount - len(given)) + list(given)
    found.defaults += [named.get(name, MISSING) for name in found.names[code.co_argcount :]]
    found.var_positional = bool(code.co_flags & VAR_POSITIONAL)
    found.var_named = bool(code.co_flags & VAR_NAMED)
    return found


def _from_inspect(function: Any) -> Signature:
    import inspect

    found = Signature()
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        # Some builtins have no signature: their arguments are keyed as they come.
        found.var_positional = found.var_named = True
        return found
    for parameter in parameters:
        kind = parameter.kind
        if kind is parameter.VAR_POSITIONAL:
            found.var_positional = True
        elif kind is parameter.VAR_KEYWORD:
            found.var_named = True
        else:
            found.names.append(parameter.name)
            found.defaults.append(
                MISSING if parameter.default is parameter.empty else parameter.default
            )
            found.positional += kind is not parameter.KEYWORD_ONLY
            found.positional_only += kind is parameter.POSITIONAL_ONLY
    return found


def signature_of(function: Any) -> Signature:
    """The signature of any callable."""
    if type(function) is FunctionType:
        attributes = function.__dict__
        if "__wrapped__" not in attributes and "__signature__" not in attributes:
            return _from_code(function)
    return _from_inspect(function)


def describe(
    signature: Signature, ignore: Collection[str], tags: Collection[str], parse: Any
) -> tuple[Any, ...]:
    """What the engine makes its plan of."""
    if isinstance(ignore, str):
        raise OptionTypeError(f"ignore={ignore!r}: give a tuple of names, such as ({ignore!r},)")
    if isinstance(tags, str):
        raise OptionTypeError(f"tags={tags!r}: give a tuple of templates, such as ({tags!r},)")
    unknown = sorted(set(ignore) - set(signature.names))
    if unknown:
        raise ConfigurationError(
            f"ignore={tuple(ignore)!r}: {', '.join(unknown)} is no parameter; "
            f"the parameters are {', '.join(signature.names) or 'none'}"
        )
    return (
        tuple(sys.intern(name) for name in signature.names),
        tuple(signature.defaults),
        signature.positional_only,
        signature.positional,
        signature.var_positional,
        signature.var_named,
        set(ignore),
        tuple(parse(tag, signature.names) for tag in tags),
    )
