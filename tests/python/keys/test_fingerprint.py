"""The fingerprint and the shared key tell values apart as docs/design/keys.md says."""

import itertools

import pytest

from millpond import _engine
from millpond.errors import KeyingError

KEYS = [
    pytest.param(_engine.fingerprint, id="fingerprint"),
    pytest.param(_engine.shared_key, id="shared"),
]

DISTINCT = [
    None, True, False, 0, 1, -1, 2**63, -(2**63), 2**64, 10**40, -(10**40), 0.0, -0.0, 1.0,
    float("nan"), float("inf"), "", "1", "\x00", "é", "\ud800", "😀", b"", b"1", bytearray(b"1"),
    [], [1], [[1]], [[], []], (), (1,), {}, {1: 2}, {2: 1}, {"a": None}, set(), {1},
    frozenset(), frozenset({1}), 1j, range(3), slice(3), ..., NotImplemented, int, float,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_values_of_other_types_or_content_are_told_apart(key):
    for left, right in itertools.combinations(DISTINCT, 2):
        assert key(left) != key(right), (left, right)


@pytest.mark.parametrize("key", KEYS)
def test_dict_order_counts_only_when_asked(key):
    one, other = {"a": 1, 2: [3]}, {2: [3], "a": 1}
    assert key(one) == key(other)
    assert key(one, ordered=True) != key(other, ordered=True)


@pytest.mark.parametrize("key", KEYS)
def test_untyped_merges_one_as_int_float_and_bool_only(key):
    assert key([1], typed=False) == key([1.0], typed=False) == key([True], typed=False)
    assert len({key(value, typed=False) for value in (1, "1", b"1", (1,), 1.5, 1 + 0j)}) == 6
    assert len({key(value) for value in (1, 1.0, True)}) == 3


def _dicts_of_every_kind():
    gaps = {f"key {i}": i for i in range(30)}
    for i in range(0, 30, 2):
        del gaps[f"key {i}"]

    class Shared:
        def __init__(self, **names):
            self.__dict__.update(names)

    emptied = {"a": 1}
    emptied.popitem()
    mixed = {"a": 1, 2: "b"}
    once_mixed = {"a": 1, 2: "b"}
    del once_mixed[2]
    instances = [Shared(role="user", content="hi"), Shared(role="user", content="ho")]
    return [
        {}, emptied, {"a": 1}, {"role": "user", "content": "hi"}, gaps, mixed, once_mixed,
        dict.fromkeys(f"{i:03}" for i in range(24)), dict.fromkeys("abcdefghijklmnopqrstuvwxyz"),
        {"é": 1, "e": 2}, {"x" * 127: 1}, {"x" * 128: 1}, *(vars(one) for one in instances),
    ]  # fmt: skip


def test_dicts_read_in_place_have_the_keys_of_dicts_read_through_the_api():
    dicts = _dicts_of_every_kind()
    trusted = [(_engine.fingerprint(one), _engine.fingerprint([one])) for one in dicts]
    assert _engine.set_dict_layout_known(False), "the layout of dicts is not the expected one"
    try:
        assert [(_engine.fingerprint(one), _engine.fingerprint([one])) for one in dicts] == trusted
    finally:
        _engine.set_dict_layout_known(True)
    turned = [dict(reversed(one.items())) for one in dicts]
    assert [(_engine.fingerprint(one), _engine.fingerprint([one])) for one in turned] == trusted
    assert len(set(trusted)) == len({repr(sorted(map(repr, one.items()))) for one in dicts})


def test_a_refusal_names_the_place_and_the_way_out():
    with pytest.raises(KeyingError, match=r"argument 0\['messages'\]\[1\]\['content'\].*key="):
        _engine.shared_key({"messages": [None, {"content": object()}]})
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(KeyingError, match="contains itself"):
        _engine.fingerprint(loop)
