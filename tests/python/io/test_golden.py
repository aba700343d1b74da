"""Entries that releases have written stay readable, bit by bit."""

import base64
import json
from typing import Any

import pytest

from tests.python.io.golden import make_golden, shapes
from tests.python.io.same import same

VERSIONS = sorted(make_golden.FOLDER.glob("v*.json"))
ROWS = [
    pytest.param(path.stem, row, id=f"{path.stem}-{row['value'][:30]}-{row['options'][:30]}")
    for path in VERSIONS
    for row in json.loads(path.read_text())
]

# A nonce is random, and other libraries' releases may compress or pickle otherwise.
WRITTEN = [
    param
    for param in ROWS
    for _, row in [param.values]
    if not any(word in row["options"] for word in ("keyring", "pickle"))
    and len(row["entry"]) < 1000
    and "* 500" not in row["value"]
]


def test_there_are_entries_of_every_version() -> None:
    assert [path.stem for path in VERSIONS] == [f"v{i + 1}" for i in range(make_golden.VERSION)]


@pytest.mark.parametrize(("version", "row"), ROWS)
def test_a_golden_entry_is_read_as_it_was_written(version: str, row: dict[str, Any]) -> None:
    codec = shapes.codec(row["options"])
    data = base64.b64decode(row["entry"])
    head = codec.head(data)
    header = make_golden.HEADERS[int(version[1:])]
    assert head.stamps == tuple(header["stamps"])
    assert (head.stored_us, head.expires_us) == (header["stored_us"], header["expires_us"])
    assert head.fresh_us == header.get("fresh_us", 0)
    assert (head.cost, head.load_seconds) == (header["cost"], header["load_seconds"])
    value = shapes.evaluated(row["value"])
    back = codec.decode(data, key="golden:key")
    assert same(back, value)


@pytest.mark.parametrize(("version", "row"), WRITTEN)
def test_the_same_value_is_still_written_so(version: str, row: dict[str, Any]) -> None:
    codec = shapes.codec(row["options"])
    value = shapes.evaluated(row["value"])
    data = codec.encode(value, key="golden:key", **make_golden.HEADERS[int(version[1:])])
    assert data == base64.b64decode(row["entry"])
