"""The typed face of the extension. What is written in C++ and reached from Python is here.

Kept by hand: the raw C-API types carry no signatures that a generator could read. stubtest
compares it with the built extension.
"""

from typing import Final, NoReturn

MAX_WEIGHED_PARTS: Final[int]

def weigh(value: object, /) -> int: ...
def is_cacheable(value: object, /) -> bool: ...
def check_cacheable(value: object, /) -> None: ...

# Doors for the tests of the error translation: fail as the engine would.

def _fail(kind: str, message: str | bytes) -> NoReturn: ...
def _fail_raw(kind: str, message: str | bytes) -> NoReturn: ...
