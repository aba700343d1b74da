"""`Codec`: what it stores, its head tells and it reads again; what it cannot read is a miss."""

import gc
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import _engine
from millpond.io.codecs import MAX_VALUE_BYTES, Codec, Unencodable, Unreadable
from tests.python.io import values
from tests.python.io.same import same

STAMPS = [("0123456789abcdef" * 2, 7), ("f" * 32, 2**64 - 1)]


def entry(codec: Codec, value: Any, key: str = "k", **more: Any) -> bytes:
    return codec.encode(value, key=key, **{"stored_us": 10, "expires_us": 20, **more})


def kind(codec: Codec, data: bytes, key: str = "k") -> str:
    with pytest.raises(Unreadable) as caught:
        codec.decode(data, key=key)
    return caught.value.kind


@given(values.values)
def test_an_entry_gives_back_its_value(value: Any) -> None:
    codec = Codec()
    assert same(codec.decode(entry(codec, value), key="k"), value)


def test_the_head_tells_what_was_stored_without_the_payload() -> None:
    codec = Codec()
    data = codec.encode(
        "x" * 100,
        key="k",
        stored_us=2**63,
        expires_us=2**64 - 1,
        stamps=STAMPS,
        cost=0.002,
        load_seconds=1.5,
    )
    head = codec.head(data)
    assert (head.stored_us, head.expires_us) == (2**63, 2**64 - 1)
    assert (head.cost, head.load_seconds) == (0.002, 1.5)
    assert head.stamps == tuple(STAMPS)
    assert (head.codec, head.schema) == ("tagged", 0)
    assert (head.compressed, head.encrypted, head.negative) == (False, False, False)
    assert (head.size, head.payload_size, head.content_size) == (len(data), 102, 102)
    assert repr(head) == f"<Head of a {len(data)}-byte entry: tagged>"
    damaged = data[:-1] + b"y"
    assert codec.head(damaged).stamps == tuple(STAMPS)
    assert kind(codec, damaged) == "damaged"


def test_a_negative_entry_says_so() -> None:
    codec = Codec()
    data = entry(codec, None, negative=True)
    assert codec.head(data).negative
    assert codec.decode(data, key="k") is None
    assert "negative" in repr(codec.head(data))


def test_every_changed_byte_is_a_miss() -> None:
    codec = Codec()
    good = entry(codec, {"name": "Ada"}, stamps=STAMPS)
    for at in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            assert kind(codec, bytes(bad)) in ("foreign", "version", "truncated", "damaged")


def test_the_end_of_freshness_takes_eight_bytes_where_there_is_one() -> None:
    codec = Codec()
    plain = codec.encode("a", key="k", stored_us=10, expires_us=90, stamps=STAMPS)
    data = codec.encode("a", key="k", stored_us=10, expires_us=90, fresh_us=50, stamps=STAMPS)
    assert (len(data), data[3], plain[3]) == (len(plain) + 8, 2, 1)
    assert (codec.head(data).fresh_us, codec.head(plain).fresh_us) == (50, 0)
    assert codec.head(data).stamps == codec.head(plain).stamps
    assert codec.decode(data, key="k") == "a"
    for size in range(len(data)):
        assert kind(codec, data[:size]) == "truncated"
    with pytest.raises(ValueError, match="fresh for less"):
        codec.encode("a", key="k", stored_us=10, expires_us=90, fresh_us=90)


def test_every_truncation_is_a_miss() -> None:
    codec = Codec()
    good = entry(codec, {"name": "Ada"}, stamps=STAMPS)
    for size in range(len(good)):
        assert kind(codec, good[:size]) == "truncated"
    assert kind(codec, good + b"\0") == "damaged"


def test_foreign_and_later_entries_are_told_apart() -> None:
    codec = Codec()
    assert kind(codec, b'{"json": 1}') == "foreign"
    assert kind(codec, b"") == "truncated"
    later = bytearray(entry(codec, 1))
    later[3] = 3
    assert kind(codec, bytes(later)) == "version"
    with pytest.raises(Unreadable):
        codec.head(bytes(later))


@given(st.binary(max_size=400))
def test_any_bytes_are_unreadable_and_never_a_crash(data: bytes) -> None:
    codec = Codec()
    assert kind(codec, data)
    assert kind(codec, b"\x89ME\x01" + data)


@given(st.binary(max_size=200))
def test_a_sound_envelope_around_any_bytes_is_read_safely(content: bytes) -> None:
    data = _engine.make_entry(1, 0, len(content), 0, 1, 2, 0, 0.0, 0.0, [], content)
    codec = Codec()
    try:
        value = codec.decode(data, key="k")
    except Unreadable:
        return
    assert same(codec.decode(entry(codec, value), key="k"), value)


def test_the_bound_on_a_value_holds_both_ways() -> None:
    small, large = Codec(max_value_bytes=1000), Codec()
    fits, over = "x" * 997, "x" * 998
    assert small.decode(entry(large, fits), key="k") == fits
    assert entry(small, fits)
    with pytest.raises(Unencodable) as caught:
        entry(small, over)
    assert caught.value.reason == "oversized"
    assert kind(small, entry(large, over)) == "oversized"
    with pytest.raises(Unreadable, match="oversized"):
        small.head(entry(large, over))
    assert large.decode(entry(large, bytes(MAX_VALUE_BYTES - 5)), key="k") is not None


def test_a_size_that_the_entry_does_not_bear_out_allocates_nothing() -> None:
    data = bytearray(entry(Codec(), "x" * 100))
    data[8:16] = (2**23).to_bytes(4, "little") * 2
    gc.collect()
    tracemalloc.start()
    assert kind(Codec(), bytes(data)) == "damaged"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"stamps": [("0" * 31, 1)]},
        {"stamps": [("G" * 32, 1)]},
        {"stamps": [("A" * 32, 1)]},
        {"stamps": [("0" * 32, -1)]},
        {"stamps": [("0" * 32, 2**64)]},
        {"stamps": [("0" * 32,)]},
        {"stamps": ["0" * 32]},
        {"stamps": [(b"0" * 32, 1)]},
        {"stamps": [("0" * 32, 1)] * 1027},
        {"cost": -1.0},
        {"cost": math.nan},
        {"load_seconds": math.inf},
        {"stored_us": -1},
        {"expires_us": 2**64},
        {"expires_us": 1.5},
    ],
)
def test_a_header_that_could_not_be_read_again_is_not_written(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, OverflowError, TypeError)):
        entry(Codec(), 1, **wrong)


def test_as_many_stamps_as_an_entry_may_have() -> None:
    stamps = [(f"{i:032x}", i) for i in range(1026)]
    codec = Codec()
    data = entry(codec, 1, stamps=stamps, cost=-0.0)
    assert codec.head(data).stamps == tuple(stamps)
    assert codec.decode(data, key="k") == 1


def test_only_bytes_are_an_entry() -> None:
    for wrong in ("text", bytearray(entry(Codec(), 1)), None):
        with pytest.raises(TypeError, match="an entry is bytes"):
            Codec().decode(wrong, key="k")  # type: ignore[arg-type]
