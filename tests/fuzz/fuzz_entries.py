"""Fuzzes stored entries: arbitrary bytes as content and as entries, and trees there and back.

`make fuzz` runs it with an extension that guides the fuzzer, and that the address and
undefined-behaviour sanitizers watch. By hand, with atheris and any millpond installed:
`python -m tests.fuzz.fuzz_entries -max_total_time=60` at the top of the repository; the options
are libFuzzer's.
"""

import datetime
import decimal
import enum
import fractions
import pathlib
import sys
import uuid
import zoneinfo
from typing import Any

import atheris

from millpond import _engine
from millpond.io.compression import decompressed

with atheris.instrument_imports(include=["tests"]):
    from tests.fuzz.trees import Maker

MOST = 1 << 20


class Colour(enum.Enum):
    """What members in fuzzed bytes may turn out to be."""

    RED = 1


class Access(enum.Flag):
    """The same for flags."""

    READ = 1
    WRITE = 2


# Values of every tag but those that Maker makes, as they begin a corpus.
SEEDS: list[Any] = [
    *(uuid.UUID(int=5), decimal.Decimal("-1E+9"), fractions.Fraction(1, 3), range(1, 9, 2)),
    *(datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")), datetime.date(2024, 1, 1)),
    *(datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "x")),),
    *(datetime.timedelta(1), pathlib.PurePosixPath("a"), Colour.RED, Access.READ | Access.WRITE),
    *(1 << 200, -(1 << 200), "é", bytearray(b"a"), {1, 2}, frozenset({"a"}), 1j, ...),
]


def reread(value: Any) -> None:
    """What was read must have a stored form, and come back from it in that form again."""
    content = _engine.encode_tagged(value, MOST * 4)
    again = _engine.encode_tagged(_engine.decode_tagged(content, False), MOST * 4)
    # Sets have no order, so only the size is sure to be the same.
    if len(again) != len(content):
        raise AssertionError("another form after reading")


def read(content: bytes) -> None:
    """Any bytes as the content of an entry."""
    entry = _engine.make_entry(1, 0, len(content), 0, 1, 2, 0, 0.0, 0.0, [], content)
    try:
        value = _engine.read_value(entry, 0, MOST, True, decompressed)
    except _engine.Unreadable:
        return
    reread(value)


def one_input(data: bytes) -> None:
    """One of four ways, by the first byte."""
    provider = atheris.FuzzedDataProvider(data)
    way = provider.ConsumeIntInRange(0, 3)
    if way == 0:
        tree = Maker(provider, plain=True).tree()
        try:
            content = _engine.encode_tagged(tree, MOST)
        except _engine.Unencodable as error:
            if error.reason != "depth":
                raise
            return
        value = _engine.decode_tagged(content, False)
        if repr(value) != repr(tree) and "{" not in repr(tree):
            raise AssertionError("another value")
        reread(value)
    elif way == 1:
        seed = _engine.encode_tagged(provider.PickValueInList(SEEDS), MOST)
        at = provider.ConsumeIntInRange(0, len(seed))
        read(seed[:at] + provider.ConsumeBytes(12) + seed[at + provider.ConsumeIntInRange(0, 4) :])
    elif way == 2:
        read(provider.ConsumeBytes(len(data)))
    else:
        raw = provider.ConsumeBytes(len(data))
        for entry in (raw, b"\x89ME\x01" + raw):
            try:
                _engine.read_head(entry, MOST)
                _engine.read_value(entry, 0, MOST, False, decompressed)
            except _engine.Unreadable:
                continue


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
