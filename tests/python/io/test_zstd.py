"""The engine's own decoder of zstd frames, beside the library's."""

from __future__ import annotations

import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from millpond import _engine
from millpond.io import compression

SIZES = (0, 1, 3, 255, 256, 257, 1023, 4096, 65_535, 66_000, 131_072, 131_073, 400_000)
LEVELS = (-7, 1, 3, 9, 13, 19, 22)


def texts(size: int) -> bytes:
    draw = random.Random(size)
    words = [draw.randbytes(3).hex().encode() for _ in range(300)]
    text = b""
    while len(text) < size:
        text += b" ".join(draw.choice(words) for _ in range(1000))
    return text[:size]


def rows(size: int) -> bytes:
    draw = random.Random(size)
    return b"".join(b"%d;%x," % (i, draw.getrandbits(9)) for i in range(size // 4))[:size]


def skewed(size: int) -> bytes:
    draw = random.Random(size)
    return bytes(min(255, int(draw.expovariate(0.1))) for _ in range(size))


def mixed(size: int) -> bytes:
    """Noise, then runs, then text: blocks of every kind in one frame."""
    part = size // 4
    return random.Random(size).randbytes(part) + bytes(part) + texts(part) + skewed(part)


CONTENTS = {
    "zeros": bytes,
    "noise": random.Random(7).randbytes,
    "alphabet": lambda size: (bytes(range(256)) * (size // 256 + 1))[:size],
    "texts": texts,
    "rows": rows,
    "skewed": skewed,
    "mixed": mixed,
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_the_library_packs_is_read(kind: str) -> None:
    for size in SIZES:
        content = CONTENTS[kind](size)
        for level in LEVELS if size < 100_000 else (1, 3, 19):
            frame = zstandard.ZstdCompressor(level=level).compress(content)
            assert _engine.unpack_zstd(frame, len(content)) == content
            assert _engine.unpack_zstd(frame, len(content) + 1) is None
            assert _engine.unpack_zstd(frame[:-1], len(content)) is None


PIECES = st.lists(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"name", b"value", b"0" * 30, b"\n"])),
    max_size=200,
)


@given(PIECES, st.sampled_from(LEVELS))
def test_anything_that_the_library_packs_is_read(pieces: list[bytes], level: int) -> None:
    content = b"".join(pieces)
    frame = zstandard.ZstdCompressor(level=level).compress(content)
    assert _engine.unpack_zstd(frame, len(content)) == content


@given(st.data())
def test_what_is_read_of_a_changed_frame_the_library_reads_too(data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([texts(900), rows(3000), skewed(400)]))
    frame = bytearray(zstandard.ZstdCompressor().compress(content))
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(9, len(frame) - 1))] = data.draw(st.integers(0, 255))
    read = _engine.unpack_zstd(bytes(frame), len(content))
    if read is not None:
        assert zstandard.ZstdDecompressor().decompress(bytes(frame)) == read


def test_what_the_engine_does_not_read_the_library_does() -> None:
    content = texts(1500)
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    assert len(content) <= _engine.SMALL_CONTENT
    assert _engine.unpack_zstd(frame, len(content)) is None
    assert compression.decompressed(frame, len(content)) == content
    assert _engine.unpack_zstd(frame, -1) is None


def test_contents_around_the_size_from_which_the_library_reads() -> None:
    for size in (_engine.SMALL_CONTENT - 1, _engine.SMALL_CONTENT, _engine.SMALL_CONTENT + 1):
        frame = zstandard.ZstdCompressor().compress(texts(size))
        assert compression.decompressed(frame, size) == texts(size)
        assert compression.decompressed(frame, size - 1) is None
