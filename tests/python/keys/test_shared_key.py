"""The shared key is the one that docs/design/keys.md specifies, on every Python."""

import hashlib
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import _engine
from tests.python.keys import reference, values

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden.json").read_text())

HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 2)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(codec=None, categories=None), max_size=40)
    | st.text("abé€😀\ud800", max_size=400)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=6,
)
TREES = st.recursive(
    HASHABLE | st.binary().map(bytearray) | st.sets(HASHABLE, max_size=5) | st.just(float("nan")),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=6)
        | st.dictionaries(st.text("abcdefgh", max_size=12), inner, max_size=40)
    ),
    max_leaves=30,
)


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["value"][:60])
def test_golden_vectors_hold(row):
    value = eval(row["value"], values.namespace())
    assert _engine.shared_key(value, **row["options"]).hex() == row["key"]
    assert _engine.opaque_leaves(value) == ()


@given(TREES, st.booleans(), st.booleans())
def test_the_key_is_sha256_of_the_specified_bytes(tree, typed, ordered):
    expected = reference.shared_key(tree, typed=typed, ordered=ordered)
    assert _engine.shared_key(tree, typed=typed, ordered=ordered) == expected


@given(st.lists(TREES, max_size=3), st.dictionaries(st.text(max_size=5), TREES, max_size=4))
def test_a_call_has_positional_values_in_order_and_named_ones_without(positional, named):
    expected = reference.shared_key(*positional, named=named)
    assert _engine.call_shared_key(tuple(positional), named) == expected
    turned = dict(reversed(named.items()))
    assert _engine.call_shared_key(tuple(positional), turned) == expected
    assert _engine.call_fingerprint(tuple(positional), turned) == _engine.call_fingerprint(
        tuple(positional), named
    )


@given(st.lists(TREES, min_size=2, max_size=5), st.booleans())
def test_fingerprints_are_equal_exactly_when_the_forms_are(trees, typed):
    codes = [reference.encode(tree, typed=typed) for tree in trees]
    prints = [_engine.fingerprint(tree, typed=typed) for tree in trees]
    for code, print_ in zip(codes, prints, strict=True):
        for other_code, other_print in zip(codes, prints, strict=True):
            assert (code == other_code) == (print_ == other_print)


def rebuilt(tree, turn):
    """The same tree of other objects, dicts and sets filled in another order."""
    match tree:
        case str():
            return (tree + "x")[:-1]
        case dict():
            pairs = [(rebuilt(key, turn), rebuilt(each, turn)) for key, each in tree.items()]
            return dict(pairs[turn:] + pairs[:turn])
        case list() | tuple() | set() | frozenset():
            items = [rebuilt(each, turn) for each in tree]
            in_order = isinstance(tree, list | tuple)
            return type(tree)(items if in_order else items[turn:] + items[:turn])
    return tree


@given(TREES, st.integers(0, 5))
def test_equal_trees_of_other_objects_have_equal_keys(tree, turn):
    again = rebuilt(tree, turn)
    assert _engine.fingerprint(again) == _engine.fingerprint(tree)
    assert _engine.shared_key(again) == _engine.shared_key(tree)


def digest(body):
    """The key of one value with these bytes."""
    return hashlib.sha256(b"mpk\x01\x01" + body + b"\xf1\x01\xf1\x00").digest()


def test_classes_and_the_standard_library_are_encoded_as_specified():
    names = values.namespace()
    word, run, string = reference.word, reference.run, reference.string
    day = word(2024 << 16 | 2 << 8 | 29)
    moment = word(((12 * 60 + 30) * 60 + 15) * 10**6 + 7)
    expected = {
        "datetime.date(2024, 2, 29)": b"\x30" + day,
        "datetime.datetime(2024, 2, 29, 12, 30, 15, 7)": b"\x32" + day + b"\x31" + moment + b"\0",
        "datetime.timedelta(-1, 5)": b"\x33\x04\x01\x01\x03\x01\x05\x03\x00",
        "uuid.UUID(int=513)": b"\x36\x03\x02\x01\x02",
        "decimal.Decimal('1.00')": b"\x38" + run(b"1.00"),
        "fractions.Fraction(-1, 2)": b"\x39\x04\x01\x01\x03\x01\x02",
        "pathlib.PurePosixPath('a/b')": b"\x37" + string("PurePosixPath") + string("a/b"),
        "Colour.RED": b"\x20" + string("golden:Colour") + string("RED"),
        "Point(1)": b"\x21\x02" + string("golden:Point") + string("x") + b"\x03\x01\x01"
        + string("y") + b"\0",
        "Pair(1, 'r')": b"\x22\x02" + string("golden:Pair") + string("left") + string("right")
        + b"\x0a\x02\x03\x01\x01" + string("r"),
        "Name('n')": b"\x24\x00" + string("golden:Name") + string("n") + b"\x0b\x00",
        "collections.OrderedDict(b=1)": b"\x25\x01" + string("b") + b"\x03\x01\x01",
        "collections.deque([None], 3)": b"\x26\x01\x03\x01\x03\x00",
        "array.array('B', [1, 2])": b"\x3a" + string("B") + b"\x0a\x01\x03\x01\x02\x07"
        + run(b"\x01\x02"),
        "int": b"\x13" + run(b"builtins:int"),
    }  # fmt: skip
    for expression, body in expected.items():
        assert _engine.shared_key(eval(expression, names)) == digest(body), expression
