"""Adds the golden entries of a version of the format: only when there is a new version.

Run `python -m tests.python.io.golden.make_golden` at the top of the repository. The entries of
older versions stay as they are for good: releases that are long gone have written such.
"""

import base64
import json
import pathlib
from typing import Any

from tests.python.io.golden import shapes

VERSION = 2
FOLDER = pathlib.Path(__file__).parent

# Expressions over the names of shapes.py.
TAGGED = """
None; True; False; ...; 0; 1; 127; 128; -1; -128; 2**63 - 1; 2**63; -(2**63); -(2**63) - 1; 10**100
-(10**100); 0.0; -0.0; 1.5; float("inf"); nan(0x7FF80000DEADBEEF); complex(-0.0, 1.5)
""; "a"; "x" * 63; "x" * 64; "x" * 500; "naïve"; "日本語"; "😀"; "\\ud800"
b""; b"\\x00\\xff"; bytearray(b"ab")
[]; [1, [2, [3]]]; (); (1, "a", (2,)); set(); {5}; frozenset({"a"}); {}; {"b": 1, "a": {"b": 2}}
[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]; {1: "a", None: 2, (1, "x"): 3}; range(10, 0, -3)
UUID(int=2**128 - 2); UUID(int=5, is_safe=SafeUUID.safe); Decimal("-1.00"); Decimal("1E+30")
Decimal("NaN"); Fraction(-1, 3); date(2024, 2, 29); time(1, 2, 3, 4, fold=1); datetime.min
datetime(2024, 1, 1, tzinfo=utc)
datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-3)))
time(1, tzinfo=timezone(timedelta(0), "X"))
timedelta(-1, 5, 6); utc; PurePosixPath("/a/b"); PureWindowsPath("C:/a"); PosixPath("a")
Colour.RED; Access.READ | Access.WRITE; np.array([1, 2], "<i4"); np.asfortranarray(np.eye(2))
np.array(["2024-01-01"], "<M8[D]"); np.array([(1, 2.5)], [("a", "<i4"), ("b", "<f8")])
np.zeros((0, 2))
np.array(5, ">i2"); np.float32(1.5); np.datetime64("2024-01-01"); [nan(0x7FF8000000000000)] * 2
{"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
"""

# Options of the codec (an expression) and a value, for what is more than tagged.
OTHERS = [
    ("{}", "'compressed ' * 500"),
    ("{'annotation': Point}", "Point(1, 2.5, ['a'])"),
    ("{'annotation': list[Point]}", "[Point(i, 0.5, []) for i in range(100)]"),
    ("{'annotation': Pair}", "Pair(1, 'b')"),
    ("{'annotation': dict[str, Any]}", "{'a': (1, 2)}"),
    ("{'codec': 'msgpack'}", "{'a': [1, 2.5, None]}"),
    ("{'keyring': Keyring([key(1)])}", "'encrypted'"),
    ("{'keyring': Keyring([key(1)])}", "'encrypted and compressed ' * 100"),
    ("{'codec': 'pickle', 'secret': key(2)}", "Point(1, 2.5, ['a'])"),
    ("{'codec': 'pickle', 'secret': key(2), 'keyring': Keyring([key(1)])}", "['locked'] * 300"),
]

HEADER: dict[str, Any] = {
    "stored_us": 1_700_000_000_000_000,
    "expires_us": 1_700_000_300_000_000,
    "stamps": [("0123456789abcdef" * 2, 1_700_000_000_000_001), ("f" * 32, 2**64 - 1)],
    "cost": 0.002,
    "load_seconds": 1.5,
}
# Headers by version. The first is still written where a value is never stale.
HEADERS: dict[int, dict[str, Any]] = {1: HEADER, 2: {**HEADER, "fresh_us": 1_700_000_200_000_000}}


def main() -> None:
    """Evaluates each case and writes its entry."""
    cases = [("{}", each.strip()) for line in TAGGED.splitlines() for each in line.split("; ")]
    rows = []
    for options, expression in [*cases, *OTHERS]:
        if expression:
            codec = shapes.codec(options)
            data = codec.encode(shapes.evaluated(expression), key="golden:key", **HEADERS[VERSION])
            entry = base64.b64encode(data).decode()
            rows.append({"options": options, "value": expression, "entry": entry})
    text = "[\n" + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]\n"
    (FOLDER / f"v{VERSION}.json").write_text(text)


if __name__ == "__main__":
    main()
