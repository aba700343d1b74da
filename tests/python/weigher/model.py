"""The plain weigher: sys.getsizeof over everything that the garbage collector can see."""

import gc
import sys
import types
from typing import Any

FREE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    bool,
    type(None),
    type(...),
    type(NotImplemented),
)


def weigh(value: object) -> int:
    """The bytes of `value` and all its parts, each once; exact for builtins."""
    seen: set[int] = set()
    pending: list[Any] = [value]
    total = 0
    while pending:
        part = pending.pop()
        if isinstance(part, FREE) or (type(part) is int and -5 <= part <= 256):
            continue
        if id(part) in seen:
            continue
        seen.add(id(part))
        total += sys.getsizeof(part)
        pending += gc.get_referents(part)
        if isinstance(part, dict):
            pending += dict.keys(part)
    return total
