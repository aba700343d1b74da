"""zstd, for entries: the standard library's where there is one, else zstandard's.

The engine reads small entries itself, where calling a library would take longer than the reading;
without a library it reads all, and nothing is compressed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from millpond import _engine

if TYPE_CHECKING:
    from collections.abc import Callable

# A smaller value is not worth the time; and one that loses less than a tenth, not the reader's.
LEAST_BYTES = 1024
LEAST_SAVED = 0.1
_LEVEL = 3

_Compress = "Callable[[bytes], bytes]"
_Decompress = "Callable[[bytes, int], bytes | None]"
_found: tuple[Callable[[bytes], bytes], Callable[[bytes, int], bytes | None]] | None = None
_looked = False


def compressed(content: bytes) -> bytes | None:
    """A smaller form, or None if it would not save enough or nothing can compress."""
    if len(content) < LEAST_BYTES or (functions := _functions()) is None:
        return None
    packed = functions[0](content)
    return packed if len(packed) <= len(content) * (1 - LEAST_SAVED) else None


def can_decompress() -> bool:
    """Whether there is a library, which reads also what the engine does not."""
    return _functions() is not None


def decompressed(packed: bytes, size: int) -> bytes | None:
    """The content of exactly `size` bytes, or None if it is not that.

    No more than `size` bytes are allocated for it, whatever `packed` claims or holds.
    """
    functions = _found or _functions()
    if functions is None or size <= _engine.SMALL_CONTENT:
        content = _engine.unpack_zstd(packed, size)
        if content is not None or functions is None:
            return content
    return functions[1](packed, size)


def _functions() -> tuple[Callable[[bytes], bytes], Callable[[bytes, int], bytes | None]] | None:
    global _found, _looked
    if not _looked:
        _found = _standard() or _zstandard()
        _looked = True
    return _found


def _standard() -> Any:
    """The functions by `compression.zstd`, which CPython has from 3.14 on."""
    try:
        # Type checkers look for it in the oldest CPython.
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return with_standard(zstd)


def with_standard(zstd: Any) -> Any:
    """The functions by a module with the face of `compression.zstd`."""

    def compress(content: bytes) -> bytes:
        packed: bytes = zstd.compress(content, _LEVEL)
        return packed

    def decompress(packed: bytes, size: int) -> bytes | None:
        try:
            if zstd.get_frame_info(packed).decompressed_size != size:
                return None
            reader = zstd.ZstdDecompressor()
            content: bytes = reader.decompress(packed, max_length=size)
        except zstd.ZstdError:
            return None
        # A reader that was given room for all of it may not have seen the end of the frame yet.
        if not reader.eof and not reader.needs_input:
            content += reader.decompress(b"", max_length=1)
        whole = reader.eof and not reader.unused_data and len(content) == size
        return content if whole else None

    return compress, decompress


def _zstandard() -> Any:
    """The functions by the package zstandard."""
    try:
        import zstandard
    except ImportError:
        return None
    # Its objects serve one thread at a time, and cost more to make than to use.
    mine = threading.local()

    def compress(content: bytes) -> bytes:
        try:
            compressor = mine.compressor
        except AttributeError:
            compressor = mine.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        packed: bytes = compressor.compress(content)
        return packed

    def decompress(packed: bytes, size: int) -> bytes | None:
        try:
            decompressor = mine.decompressor
        except AttributeError:
            decompressor = mine.decompressor = zstandard.ZstdDecompressor()
        try:
            # The frame's own size decides what is allocated.
            if zstandard.frame_content_size(packed) != size:
                return None
            # By position, which takes half the time: any size, one frame, and nothing behind it.
            content: bytes = decompressor.decompress(packed, 0, False, False)
        except zstandard.ZstdError:
            return None
        return content if len(content) == size else None

    return compress, decompress
