"""`Cache.dump` and `Cache.restore`."""

import subprocess
import sys

import pytest

import millpond as mp
from millpond._engine import ManualClock
from millpond.errors import SnapshotError


def test_entries_of_bytes_come_back_with_their_tags_in_another_process() -> None:
    cache = mp.Cache()
    cache.set(b"a", b"1", tags=("odd",))
    cache.set(b"b", b"2")
    cache.set("text", b"3")
    cache.set(b"c", "text")
    script = (
        "import sys, millpond as mp\n"
        "cache = mp.Cache()\n"
        "print(cache.restore(sys.stdin.buffer.read()), sorted(cache.items()),"
        " cache.invalidate(tags='odd'))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", script], input=cache.dump(), capture_output=True, check=True
    )
    assert seen.stdout.decode().split("\n")[0] == "2 [(b'a', b'1'), (b'b', b'2')] 1"


def test_a_life_goes_on_where_it_was() -> None:
    clock = ManualClock()
    cache = mp.Cache(ttl=60, clock=clock)
    cache[b"a"] = b"1"
    clock.advance(30)
    other = mp.Cache(clock=clock)
    assert other.restore(cache.dump()) == 1
    left = other.ttl(b"a")
    assert left is not None
    assert 29 < left <= 30
    clock.advance(30)
    assert b"a" not in other


def test_what_is_dead_is_not_dumped() -> None:
    clock = ManualClock()
    cache = mp.Cache(ttl=60, clock=clock)
    cache[b"a"] = b"1"
    clock.advance(60)
    assert mp.Cache().restore(cache.dump()) == 0


@pytest.mark.parametrize("damage", [lambda s: b"", lambda s: s[:-1], lambda s: b"x" + s[1:]])
def test_a_damaged_snapshot_changes_nothing(damage: object) -> None:
    cache = mp.Cache()
    cache[b"a"] = b"1"
    cache[b"b"] = b"2"
    assert callable(damage)
    other = mp.Cache()
    with pytest.raises(SnapshotError):
        other.restore(damage(cache.dump()))
    assert len(other) == 0
