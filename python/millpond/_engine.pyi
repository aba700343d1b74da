"""The typed face of the extension. What is written in C++ and reached from Python is here.

Kept by hand: the raw C-API types carry no signatures that a generator could read. stubtest
compares it with the built extension.
"""

from typing import Final

MAX_WEIGHED_PARTS: Final[int]

def weigh(value: object, /) -> int: ...
def is_cacheable(value: object, /) -> bool: ...
def check_cacheable(value: object, /) -> None: ...

# Keys: 16 bytes that stand for a value in this process, 32 that stand for it everywhere.

def fingerprint(value: object, *, typed: bool = True, ordered: bool = False) -> bytes: ...
def opaque_leaves(
    value: object, *, typed: bool = True, ordered: bool = False
) -> tuple[object, ...]: ...
def shared_key(value: object, *, typed: bool = True, ordered: bool = False) -> bytes: ...
def call_fingerprint(
    positional: tuple[object, ...],
    named: dict[str, object],
    *,
    typed: bool = True,
    ordered: bool = False,
) -> bytes: ...
def call_shared_key(
    positional: tuple[object, ...],
    named: dict[str, object],
    *,
    typed: bool = True,
    ordered: bool = False,
) -> bytes: ...
def set_fingerprint_seed(seed: bytes, *, portable: bool = False) -> None: ...
