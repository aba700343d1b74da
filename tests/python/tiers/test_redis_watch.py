"""What a process makes of pushes that come while it does something itself; no server is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from millpond.errors import TierError
from millpond.tiers import redis_watch
from millpond.tiers.redis_watch import Watch
from tests.waiting import wait_until

PREFIX = b"~g:app:"
ONE, TWO = "1" * 32, "2" * 32


class Heard:
    """The listener of a tier, and who is published to."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.all = 0

    def changed(self, names: Sequence[str], keys: Sequence[str]) -> None:
        self.dropped += [*names, *keys]

    def everything(self) -> None:
        self.all += 1

    def alive(self, seconds: float) -> None:
        pass

    def up(self, yes: bool) -> None:
        pass

    def heard(self, text: bytes) -> None:
        pass


def of_two(heard: Heard, servers: list[Any], monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A watch of two servers, whose feeds are begun and say nothing."""
    monkeypatch.setattr(redis_watch, "Feed", Silent)
    FEEDS.clear()
    watch = Watch(
        lambda _: list(servers),
        PREFIX,
        heard,
        5.0,
        stamps=list,
        guards=list,
        channel=b"",
        published=heard,
    )
    wait_until(lambda: len(FEEDS) == 2, "the feeds are begun")
    return watch


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watch(heard: Heard) -> Iterator[Watch]:
    def ask(*_: Any) -> Any:
        pytest.fail("a server was asked")

    def servers(_: object) -> list[Any]:
        return []

    watch = Watch(servers, PREFIX, heard, 5.0, stamps=ask, guards=ask, channel=b"", published=heard)
    watch.table.link_up()
    yield watch
    watch.close()


def push(watch: Watch, *names: str) -> None:
    watch.touched([PREFIX + name.encode() for name in names])


def test_making_stamps_waits_for_no_server_when_a_push_comes(watch: Watch, heard: Heard) -> None:
    with watch.own.making([ONE, TWO]) as made:
        push(watch, ONE)
        made.take([10, 20], [True, True])
    assert made.expected == {ONE: 10}
    assert heard.dropped == []
    # What may be another by now is not known; the other is.
    assert watch.table.known([ONE, TWO]) == [None, 20]


def test_a_push_of_what_was_there_when_it_was_to_be_made_drops_it(
    watch: Watch, heard: Heard
) -> None:
    with watch.own.making([ONE, TWO]) as made:
        push(watch, ONE)
        # The stamp may be the one that the push tells of; what is in memory is older.
        made.take([10, 20], [False, True])
    assert heard.dropped == [ONE]
    assert made.expected == {}


def test_a_push_reaches_all_who_are_making(watch: Watch, heard: Heard) -> None:
    with watch.own.making([ONE]) as first:
        push(watch, ONE)
        with watch.own.making([ONE]) as second:
            second.take([10], [False])
        first.take([10], [False])
    assert heard.dropped == [ONE]


def test_what_another_thread_has_made_is_compared_too(watch: Watch, heard: Heard) -> None:
    with watch.own.making([ONE]) as second:
        with watch.own.making([ONE]) as first:
            first.take([10], [True])
        push(watch, ONE)
        second.take([10], [False])
    assert second.expected == {ONE: 10}
    assert heard.dropped == []


def test_a_push_drops_what_carries_a_stamp_that_is_known(watch: Watch, heard: Heard) -> None:
    # The answer that brought the stamp has overtaken the push; memory holds what is older.
    assert watch.table.learn(ONE, 11, watch.table.sequence())
    push(watch, ONE)
    assert heard.dropped == [ONE]
    assert watch.table.known([ONE]) == [None]


def test_what_was_made_here_and_touched_by_nobody_else_stays(watch: Watch, heard: Heard) -> None:
    with watch.own.comparing({ONE: 10, TWO: 20}) as present:
        present([10, 21])
    assert heard.dropped == [TWO]
    assert watch.table.known([ONE, TWO]) == [10, None]


def test_what_cannot_be_compared_is_dropped(watch: Watch, heard: Heard) -> None:
    with watch.own.comparing({ONE: 10}):
        raise TierError("out", tier="redis")
    assert heard.dropped == [ONE]
    with pytest.raises(KeyboardInterrupt), watch.own.comparing({TWO: 20}):
        raise KeyboardInterrupt
    assert heard.dropped == [ONE, TWO]


def test_names_that_were_not_made_after_a_push_are_dropped(watch: Watch, heard: Heard) -> None:
    def make() -> None:
        with watch.own.making([ONE]):
            push(watch, ONE)
            raise TierError("out", tier="redis")

    with pytest.raises(TierError):
        make()
    assert heard.dropped == [ONE]


@pytest.mark.parametrize("up", [False, True])
def test_a_push_of_what_was_made_here_drops_nothing(heard: Heard, up: bool) -> None:
    present = {ONE: 10, TWO: 21}
    watch = Watch(
        lambda _: [],
        PREFIX,
        heard,
        5.0,
        stamps=lambda names, _: [present[name] for name in names],
        guards=lambda _, __: pytest.fail("no guard is asked for"),
        channel=b"",
        published=heard,
    )
    if up:
        watch.table.link_up()
    with watch.own.making([ONE, TWO]) as made:
        made.take([10, 20], [True, True])
    push(watch, ONE, TWO)
    assert heard.dropped == [TWO]  # Somebody has bumped it since.
    push(watch, ONE)
    assert heard.dropped == [TWO, ONE]
    watch.close()


def push_guards(watch: Watch, *keys: str) -> None:
    watch.touched([PREFIX + b"{%b}" % key.encode() for key in keys])


def test_a_push_of_what_is_being_written_is_judged_by_who_writes(
    watch: Watch, heard: Heard
) -> None:
    with watch.own.writing(["k", "l", "m"]) as wrote:
        push_guards(watch, "k", "l", "other")
        wrote.guards = {"k": 10, "l": 20, "m": 30}
    assert heard.dropped == ["other"]
    with watch.own.judging(wrote) as present:
        present([10, 21])
    assert heard.dropped == ["other", "l"]


def test_what_was_not_written_after_a_push_is_dropped(watch: Watch, heard: Heard) -> None:
    def write() -> None:
        with watch.own.writing(["k"]):
            push_guards(watch, "k")
            raise TierError("out", tier="redis")

    with pytest.raises(TierError):
        write()
    assert heard.dropped == ["k"]


def test_a_name_that_is_given_twice_is_made_once(watch: Watch, heard: Heard) -> None:
    with watch.own.making([ONE, TWO, ONE]) as made:
        push(watch, ONE)
        made.take([10, 20, 10], [True, True, False])
    assert made.expected == {ONE: 10}
    assert watch.table.known([TWO]) == [20]


def test_pushes_of_two_writes_of_a_key_drop_nothing(heard: Heard) -> None:
    watch = Watch(
        lambda _: [],
        PREFIX,
        heard,
        5.0,
        stamps=lambda *_: pytest.fail("no stamp is asked for"),
        guards=lambda keys, _: [20 for _ in keys],
        channel=b"",
        published=heard,
    )
    for guard in (10, 20):
        with watch.own.writing(["k"]) as wrote:
            wrote.guards = {"k": guard}
    push_guards(watch, "k")
    push_guards(watch, "k")
    assert heard.dropped == []
    watch.close()


class Silent:
    """A feed of no server."""

    def __init__(self, *_: object, **__: object) -> None:
        self.open = True
        FEEDS.append(self)

    def close(self) -> None:
        self.open = False


FEEDS: list[Silent] = []


def test_servers_that_two_feeds_find_changed_get_one_feed_each(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[Any] = ["a", "b"]
    watch = of_two(heard, servers, monkeypatch)
    servers[1] = "c"

    def another_finds_out(yes: bool) -> None:
        if not yes and len(FEEDS) == 2:
            watch.carried(1, 1, 0.0)

    monkeypatch.setattr(heard, "up", another_finds_out)
    watch.carried(1, 0, 0.0)
    assert [feed.open for feed in FEEDS] == [False, False, True, True]
    watch.close()
    assert not any(feed.open for feed in FEEDS)


def test_a_feed_of_servers_that_are_others_now_says_nothing_any_more(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[Any] = ["a", "b"]
    watch = of_two(heard, servers, monkeypatch)
    watch.begun(1, 0, None)
    servers[1] = "c"
    ups: list[bool] = []

    def the_other_begins(yes: bool) -> None:
        ups.append(yes)
        if len(ups) == 1:
            watch.begun(1, 1, None)

    monkeypatch.setattr(heard, "up", the_other_begins)
    watch.carried(1, 0, 0.0)
    assert ups == [False, False]  # The last is to whom it is published.
    assert not watch.table.learn(ONE, 1, watch.table.sequence())
    watch.close()


def test_one_feed_that_ends_while_the_other_begins_leaves_the_link_down(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = of_two(heard, ["a", "b"], monkeypatch)
    watch.begun(1, 0, None)
    watch.begun(1, 1, None)
    watch.ended(1, 1)
    link_up = watch.table.link_up
    ended = threading.Thread(target=watch.ended, args=(1, 0))

    class Table:
        """The other feed ends where this one has seen that all are there."""

        def __getattr__(self, name: str) -> Any:
            return getattr(table, name)

        def link_up(self) -> None:
            ended.start()
            ended.join(0.2)
            link_up()

    table = watch.table
    monkeypatch.setattr(watch, "table", Table())
    watch.begun(1, 1, [])
    ended.join()
    assert not table.learn(ONE, 1, table.sequence())
    watch.close()
