"""Writes golden.json anew: only when the version of the format changes.

Run `python -m tests.python.keys.make_golden` at the top of the repository.
"""

import json
import pathlib

from millpond import _engine
from tests.python.keys import values

CASES = """
None; True; False; 0; 1; -1; 255; 256; -256; 2**63 - 1; 2**63; -(2**63); -(2**63) - 1; 2**64
10**40; -(10**400); 0.0; -0.0; 1.5; float("inf"); float("-inf"); float("nan"); -float("nan"); 1e300
""; "a"; "naïve"; "日本語"; "😀"; "\\ud800"; "\\udc00\\ud800"; "x" * 127; "x" * 128; "é" * 5000
b""; b"abc"; bytes(5000); bytearray(b"abc"); []; [1, [2, [3]]]; (); (1, "a"); (1,)
{}; {"b": 1, "a": 2, "cc": {"d": None}}; {1: "a", "1": "b", (1,): "c", None: "d"}; {"é": 1, "e": 2}
{f"key{i}": i for i in range(50)}; {"x" * 200: 1}; set(); {1, 2, 3, "a", (4,)}; frozenset({1.5})
frozenset({frozenset({1}), frozenset()}); 1 + 2j; complex(-0.0, float("nan")); range(5)
range(10, 0, -3); slice(None); slice(1, "a", 2.5); ...; NotImplemented; int; dict
memoryview(b"abc"); memoryview(b"abcd").cast("H"); memoryview(b"abcdef")[::2]
datetime.date(2024, 2, 29); datetime.time(1, 2, 3, 4); datetime.time(1, fold=1)
datetime.datetime(2024, 2, 29, 12, 30, 15, 7); datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3), "X"))
datetime.timedelta(-1, 5, 6); uuid.UUID("12345678123456781234567812345678")
pathlib.PurePosixPath("/a/b"); pathlib.PureWindowsPath("C:/a"); decimal.Decimal("1.0")
decimal.Decimal("1.00"); decimal.Decimal("-1E+30"); decimal.Decimal("NaN"); fractions.Fraction(1, 3)
Colour.RED; Access.READ | Access.WRITE; Point(1, [2]); Point(1, Point(2)); Pair(1, "b"); Name("a")
tagged(None); tagged("t"); tagged("t", extra=[1]); collections.Counter("aab")
collections.OrderedDict([("b", 1), ("a", 2)]); collections.defaultdict(list, a=[1])
collections.deque([1, 2]); collections.deque([1], maxlen=2); array.array("d", [1.5])
{"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "stream": False}
"""

OPTIONS = {
    "[1, 1.0, True, 0.0, -0.0, 1e30]": {"typed": False},
    "{'b': 1, 'a': 2}": {"ordered": True},
}


def main() -> None:
    """Evaluates each case and writes its key."""
    cases = [(each.strip(), {}) for line in CASES.splitlines() for each in line.split("; ")]
    rows = []
    for expression, options in [*cases, *OPTIONS.items()]:
        if expression:
            value = eval(expression, values.namespace())
            key = _engine.shared_key(value, **options).hex()
            rows.append({"value": expression, "options": options, "key": key})
    text = "[\n" + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]\n"
    (pathlib.Path(__file__).parent / "golden.json").write_text(text)


if __name__ == "__main__":
    main()
