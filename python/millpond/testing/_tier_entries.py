"""What a tier promises of its entries: that they come back, for as long as they live."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from millpond.tiers.base import Fetched

from ._calls import Calls, Way, entry, expect, same, soon

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

# Every character that a key may have.
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "{}")


class EntryChecks:
    """Checks of `fetch`, `store`, `inspect` and `scan`."""

    if TYPE_CHECKING:
        calls: Callable[[Way], AbstractContextManager[Calls]]
        seconds: float
        short: float

    def test_what_was_never_stored_is_not_there(self, way: Way) -> None:
        with self.calls(way) as tier:
            fetched = tier.fetch([tier.key(1), tier.key(2)], [tier.name()])
            same(fetched.data, [None, None], "a key that was never stored has no entry")
            same(fetched.guards, [0, 0], "a key that was never written has the guard 0")
            same(fetched.stamps, [None], "a name that was never stamped has no stamp")

    def test_what_was_stored_comes_back_byte_by_byte(self, way: Way) -> None:
        contents = [b"", b"\0", bytes(range(256)), b"\r\n$-1\r\n", "ü".encode(), b"x" * 1_000_000]
        with self.calls(way) as tier:
            for number, content in enumerate(contents):
                key = tier.key(number)
                same(tier.store(entry(key, content)), [True], "a first fill is taken")
                got = tier.data(key)
                expect(type(got) is bytes, f"an entry is bytes, not {type(got).__name__}")
                expect(got == content, f"the {len(content)} bytes stored come back as they were")

    def test_answers_are_in_the_order_of_the_questions(self, way: Way) -> None:
        with self.calls(way) as tier:
            one, two, none = tier.key(1), tier.key(2), tier.key("none")
            name, other = tier.name(), tier.name()
            tier.store(entry(one, b"1"), entry(two, b"2"))
            stamp = tier.stamp(name)[0]
            fetched = tier.fetch([two, none, one, two], [other, name])
            same(fetched.data, [b"2", None, b"1", b"2"], "entries come in the order of their keys")
            same(fetched.stamps, [None, stamp], "stamps come in the order of their names")
            same(len(fetched.guards), 4, "there is a guard for each key")

    def test_many_at_once(self, way: Way) -> None:
        with self.calls(way) as tier:
            keys = [tier.key(number) for number in range(300)]
            stored = tier.store(*(entry(key, key.encode()) for key in keys))
            same(stored, [True] * 300, "300 entries are stored in one call")
            same(tier.fetch(keys).data, [key.encode() for key in keys], "300 come in one call")

    def test_nothing_asked_is_nothing_answered(self, way: Way) -> None:
        with self.calls(way) as tier:
            same(tier.fetch(), Fetched([], [], []), "fetch of nothing")
            same(tier.store(), [], "store of nothing")
            tier.write()
            same(tier.delete(), [], "delete of nothing")
            same(tier.erase(), 0, "erase of nothing")
            same(tier.stamp(), [], "stamp of nothing")
            same(tier.bump(), [], "bump of nothing")

    def test_any_permitted_key_is_a_key_of_its_own(self, way: Way) -> None:
        with self.calls(way) as tier:
            keys = [tier.key(character) for character in _PRINTABLE]
            keys.append(tier.key(_PRINTABLE))
            keys.append(tier.key().ljust(512, "k"))
            tier.store(*(entry(key, key.encode()) for key in keys))
            same(tier.fetch(keys).data, [key.encode() for key in keys], "each key has its entry")

    def test_a_second_fill_replaces_the_first(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            tier.store(entry(key, b"longer than the next", ttl=self.short))
            same(tier.store(entry(key, b"next")), [True], "a fill over a fill is taken")
            same(tier.data(key), b"next", "the last fill counts")
            held = tier.inspect(key)
            expect(held is not None and held.ttl > self.short, "the last fill's ttl counts")

    def test_an_entry_goes_when_its_life_is_over(self, way: Way) -> None:
        with self.calls(way) as tier:
            short, long = tier.key("short"), tier.key("long")
            begun = time.monotonic()
            tier.store(entry(short, ttl=self.short), entry(long))
            there = tier.data(short)
            if time.monotonic() - begun < self.short:
                same(there, b"data", "an entry is there until its ttl is over")
            soon(
                lambda: tier.data(short) is None, "an entry goes when its ttl is over", self.seconds
            )
            expect(time.monotonic() - begun >= self.short * 0.9, "an entry lives for its whole ttl")
            same(tier.inspect(short), None, "inspect knows no entry whose life is over")
            same(tier.keys(tier.prefix), [long], "scan lists no entry that is over")
            same(tier.delete(short), [False], "an entry whose life is over was not there")

    def test_a_written_entry_goes_when_its_life_is_over(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            tier.write(entry(key, ttl=self.short))
            soon(
                lambda: tier.data(key) is None,
                "a written entry goes when its ttl is over",
                self.seconds,
            )

    def test_inspect_shows_an_entry_and_what_it_has_left(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            same(tier.inspect(key), None, "inspect of what is not there")
            tier.store(entry(key, b"seen", ttl=30))
            held = tier.inspect(key)
            expect(held is not None, "inspect finds what was stored")
            if held is not None:
                same(held.data, b"seen", "inspect shows the bytes")
                expect(20 < held.ttl <= 30, f"of 30 s there are {held.ttl:g} left, just stored")

    def test_no_entry_stays_longer_than_the_tier_s_own_maximum(self, way: Way) -> None:
        with self.calls(way) as tier:
            stored, written = tier.key("stored"), tier.key("written")
            most = tier.tier.max_ttl
            tier.store(entry(stored, ttl=most * 10))
            tier.write(entry(written, ttl=most * 10))
            for key in (stored, written):
                held = tier.inspect(key)
                expect(held is not None, "an entry with a long ttl is stored")
                if held is not None:
                    expect(held.ttl <= most, f"an entry stays {most:g} s at most")

    def test_scan_lists_the_keys_that_begin_so_and_no_others(self, way: Way) -> None:
        with self.calls(way) as tier:
            keys = {tier.key(f"a:{number}") for number in range(1200)}
            batch = sorted(keys)
            for start in range(0, len(batch), 300):
                tier.store(*(entry(key) for key in batch[start : start + 300]))
            others = {tier.key("b:1"), tier.key("A:1"), tier.key("a")}
            tier.store(*(entry(key) for key in others))
            tier.delete(tier.key("a:gone"))
            tier.incr(tier.key("a:counter"))
            batches = tier.scan(tier.key("a:"))
            expect(all(batches), "no batch is empty")
            found = [key for batch in batches for key in batch]
            same(len(found), len(set(found)), "no key is listed twice")
            same(set(found) - {tier.key("a:counter")}, keys, "scan lists what begins so")
            same(tier.keys(tier.key("none")), [], "scan of what nothing begins with")
            everything = {key for batch in tier.scan("") for key in batch}
            expect(keys | others <= everything, "an empty prefix lists everything")

    def test_scan_takes_a_prefix_by_the_letter(self, way: Way) -> None:
        with self.calls(way) as tier:
            odd = [
                tier.key(f"{sign}1") for sign in ("*", "?", "[a]", "\\", "%", "_", "^", "]", "~")
            ]
            tier.store(*(entry(key) for key in [*odd, tier.key("plain"), tier.key("a1")]))
            for key in odd:
                same(tier.keys(key[:-1]), [key], "a prefix is no pattern")
            same(tier.keys(odd[0]), [odd[0]], "a key begins with itself")
