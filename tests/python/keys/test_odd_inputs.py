"""What docs/design/keys.md promises for odd inputs, each with its outcome."""

import collections
import dataclasses
import datetime
import gc
import math
import random
import struct
import sys
import weakref

import pytest

from millpond import _engine
from millpond.errors import KeyingError

BOTH = pytest.mark.parametrize("key", [_engine.fingerprint, _engine.shared_key])


class Opaque:
    """Hashable and comparable by a value."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return hash(self.value)

    def __eq__(self, other):
        return isinstance(other, Opaque) and self.value == other.value


def nested(levels):
    tree = []
    for _ in range(levels - 1):
        tree = [tree]
    return tree


@BOTH
def test_a_hundred_levels_are_keyed_and_one_more_is_refused(key):
    assert len(key(nested(100))) > 0
    with pytest.raises(KeyingError, match="more than 100 levels"):
        key(nested(101))


@BOTH
@pytest.mark.parametrize("make", [list, dict, collections.deque, collections.OrderedDict])
def test_a_container_in_itself_is_refused(key, make):
    loop = make()
    if isinstance(loop, dict):
        loop["self"] = loop
    else:
        loop.append(loop)
    with pytest.raises(KeyingError, match="contains itself"):
        key(loop)


@BOTH
def test_a_cycle_through_a_dataclass_and_attributes_is_refused(key):
    @dataclasses.dataclass
    class Node:
        next: object = None

    node = Node()
    node.next = [node]
    with pytest.raises(KeyingError, match="contains itself"):
        key(node)


@BOTH
def test_a_list_shared_on_many_levels_ends_in_an_error(key):
    tree = []
    for _ in range(60):
        tree = [tree, tree]
    with pytest.raises(KeyingError, match="10,000,000 containers"):
        key(tree)


@BOTH
def test_every_nan_is_one_value_and_zeros_keep_their_sign(key):
    quiet, payload = struct.unpack("<dd", bytes.fromhex("000000000000f87f010000000000f8ff"))
    assert math.isnan(payload)
    assert key(quiet) == key(payload) == key(-quiet)
    assert key(0.0) != key(-0.0)
    assert key(0.0, typed=False) != key(-0.0, typed=False)
    assert key({math.nan: 1, float("nan"): 2}) == key({math.nan: 2, float("nan"): 1})


@BOTH
def test_huge_ints_are_keyed_by_value(key):
    for value in (2**62, 2**63, 2**64, 10**5000):
        assert key(value) == key(int(str(value)) if value < 10**400 else value + 1 - 1)
        assert len({key(value), key(-value), key(value + 1), key(value - 1)}) == 4


@BOTH
def test_text_is_keyed_by_code_points_alone(key):
    for text in ("abc", "naïve", "日本", "a😀", "\ud800", "\ud83d\ude00"):
        assert key(text) == key((text + "😀")[:-1])
    assert key("\ud83d\ude00") != key("😀")
    assert len({key(each) for each in ("\ud800", "\udc00", "?", "\ufffd", b"\xed\xa0\x80")}) == 5


@BOTH
def test_a_subclass_is_never_its_base_and_its_attributes_count(key):
    class Text(str):
        pass

    class Slotted(list):
        __slots__ = ("label",)

    one, other = Text("a"), Text("a")
    assert key(one) == key(other) != key("a")
    other.extra = 1
    assert key(one) != key(other)
    empty, full = Slotted([1]), Slotted([1])
    assert key(empty) == key(full) != key([1])
    full.label = None
    assert key(empty) != key(full)
    assert key(Text("wide 😀")) == key(Text("wide 😀"))


def test_a_subclass_with_an_equality_of_its_own_is_opaque():
    class Folded(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            return self.lower() == other.lower()

    value = Folded("A")
    assert _engine.opaque_leaves([value]) == (value,)
    with pytest.raises(KeyingError, match="known by its hash and =="):
        _engine.shared_key(value)

    class Unhashable(list):
        def __eq__(self, other):
            return True

    with pytest.raises(KeyingError, match="neither hashable"):
        _engine.fingerprint({"a": Unhashable()})


def test_opaque_leaves_come_in_an_order_that_equal_values_share():
    def tree(order):
        leaves = {f"key{i}": [Opaque(i), i] for i in range(40)}
        return {name: leaves[name] for name in sorted(leaves, key=order)}

    one, other = tree(str), tree(lambda name: -int(name[3:]))
    assert _engine.fingerprint(one) == _engine.fingerprint(other)
    assert _engine.opaque_leaves(one) == _engine.opaque_leaves(other)
    assert len(_engine.opaque_leaves(one)) == 40
    few, turned = {"a": Opaque(1), "b": Opaque(2)}, {"b": Opaque(2), "a": Opaque(1)}
    assert _engine.opaque_leaves(few) == _engine.opaque_leaves(turned)


def test_opaque_members_of_a_set_are_one_leaf_compared_as_a_set():
    members = [Opaque(i) for i in range(20)]
    random.Random(1).shuffle(members)
    (leaf,) = _engine.opaque_leaves({1, "a", *members})
    assert leaf == frozenset(Opaque(i) for i in range(20))
    assert _engine.fingerprint(set(members)) == _engine.fingerprint({Opaque(i) for i in range(20)})


def test_a_class_is_keyed_by_name_here_also_by_identity_and_shared_only_if_it_is_found():
    def make():
        class Local:
            pass

        return Local

    one, other = make(), make()
    assert _engine.fingerprint(one) == _engine.fingerprint(other)
    assert _engine.opaque_leaves(one) == (one,) != (other,)
    assert _engine.opaque_leaves(int) == ()
    assert _engine.shared_key(collections.OrderedDict) != _engine.shared_key(collections.Counter)
    with pytest.raises(KeyingError, match="cannot be found under its name"):
        _engine.shared_key(one)


@BOTH
def test_what_cannot_be_keyed_is_named_with_its_place(key):
    class Plain:
        __hash__ = None

    with pytest.raises(KeyingError, match=r"argument 0\['a'\]\[1\]\[2\]: a .*Plain .*key="):
        key({"a": [None, {2: Plain()}]})
    assert issubclass(KeyingError, TypeError)


def test_an_exception_of_a_hash_passes_through():
    class Angry:
        def __hash__(self):
            raise ZeroDivisionError("no")

    for tree in (Angry(), [Angry()], {"a": {"b": (Angry(),)}}, {i: Angry() for i in range(30)}):
        with pytest.raises(ZeroDivisionError):
            _engine.fingerprint(tree)


def test_an_exception_of_an_attribute_passes_through():
    @dataclasses.dataclass
    class Lazy:
        x: int = 1

        def __getattribute__(self, name):
            if name == "x":
                raise ZeroDivisionError(name)
            return super().__getattribute__(name)

    for key in (_engine.fingerprint, _engine.shared_key):
        with pytest.raises(ZeroDivisionError):
            key({"a": [Lazy()]})


class Meddler:
    """Runs something in the middle of a walk, and walks again itself."""

    def __init__(self, action):
        self.action = action

    def __hash__(self):
        _engine.fingerprint([{"again": [1, 2, {3}]}])
        self.action()
        gc.collect()
        return 7

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize("size", [3, 60])
@pytest.mark.parametrize("how", ["clear", "replace", "grow"])
def test_a_dict_that_changes_under_the_walk_is_an_error_or_keyed_never_a_crash(size, how):
    def meddle():
        if how == "clear":
            outer.clear()
            inner.clear()
        elif how == "replace":
            for name in list(outer):
                outer[name] = object()
            inner[:] = [object() for _ in inner]
        else:
            outer.update({f"new{i}": [i] for i in range(100)})
            inner.extend(range(100))

    inner = [[1], Meddler(meddle), [str(i) for i in range(5)]]
    outer = {f"key{i}": [str(i)] for i in range(size)}
    outer["key1"] = inner
    if how == "replace":
        assert len(_engine.fingerprint([outer])) == 16
    else:
        with pytest.raises(KeyingError, match="changed while"):
            _engine.fingerprint([outer])


@BOTH
def test_fields_that_change_their_owner_are_survived(key):
    @dataclasses.dataclass
    class Shifty:
        first: object
        second: object

        def __getattribute__(self, name):
            if name == "first":
                holder.clear()
                gc.collect()
            return super().__getattribute__(name)

    holder = {"a": [Shifty([1], [2])], "b": ["text" * 20]}
    with pytest.raises(KeyingError, match="changed while"):
        key(holder)


@BOTH
def test_keying_keeps_no_reference_and_leaks_none(key):
    class Item(list):
        pass

    item = Item(["a"])
    alive = weakref.ref(item)
    before = sys.getrefcount(item)
    for tree in (item, [item], {"a": item}, (item, {1: item})):
        key(tree)
    del tree
    assert sys.getrefcount(item) == before
    del item
    gc.collect()
    assert alive() is None


@BOTH
def test_one_instant_in_two_zones_is_two_values(key):
    utc = datetime.datetime(2024, 6, 1, 12, tzinfo=datetime.UTC)
    east = utc.astimezone(datetime.timezone(datetime.timedelta(hours=2)))
    assert utc == east
    assert key(utc) != key(east)
    assert key(utc) != key(utc.replace(tzinfo=None))
    assert key(utc) != key(utc.replace(fold=1))


@BOTH
def test_pydantic_models_are_keyed_by_fields_and_by_what_was_set(key):
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        model_config = {"extra": "allow"}
        a: int = 1
        b: list[int] = []

    assert key(Model(a=2)) == key(Model(a=2))
    assert len({key(each) for each in (Model(), Model(a=1), Model(a=2), Model(c=1))}) == 4
    with pytest.raises(KeyingError, match=r"argument 0\.b\[0\]"):
        key(Model.model_construct(b=[type("Plain", (), {"__hash__": None})()]))


@BOTH
def test_numpy_values_are_keyed_by_dtype_shape_and_content(key):
    np = pytest.importorskip("numpy")
    grid = np.arange(6, dtype="i4").reshape(2, 3)
    assert key(grid) == key(np.asfortranarray(grid)) == key(grid[::1].copy())
    others = [grid.T, grid.reshape(6), grid.astype("i8"), grid + 1, grid.tolist(), np.int32(1), 1,
              np.float64(1), np.array(1), np.array(["2024-01-01"], dtype="M8[D]"),
              np.array([1, "a", None], dtype=object), np.zeros(1, dtype=[("a", "i4"), ("b", "i4")]),
              np.zeros(1, dtype=[("a", "i4"), ("c", "i4")])]  # fmt: skip
    assert len({key(each) for each in [grid, *others]}) == len(others) + 1


@BOTH
def test_a_released_memoryview_is_refused(key):
    view = memoryview(b"abc")
    assert key(view) == key(memoryview(bytearray(b"abc")))
    view.release()
    with pytest.raises(KeyingError, match="released"):
        key(view)


def test_the_seed_changes_fingerprints_and_the_portable_lanes_agree_on_what_is_equal():
    trees = [{"a": [1, {"b": "c" * n}], 2: {n, "x"}} for n in (1, 30, 300, 5000)]
    again = [{2: {"x", n}, "a": [1, {"b": "c" * n}]} for n in (1, 30, 300, 5000)]
    try:
        seen = set()
        for seed in (bytes(32), bytes(31) + b"\x01"):
            for portable in (False, True):
                _engine.set_fingerprint_seed(seed, portable=portable)
                prints = [_engine.fingerprint(tree) for tree in trees]
                assert prints == [_engine.fingerprint(tree) for tree in again]
                seen.update(prints)
        assert len(seen) >= 2 * len(trees)
    finally:
        _engine.set_fingerprint_seed(random.SystemRandom().randbytes(32))
    with pytest.raises(ValueError, match="takes 32"):
        _engine.set_fingerprint_seed(b"short")
