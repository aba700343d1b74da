"""What a process makes of pushes that come while it does something itself; no server is asked."""

from __future__ import annotations

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
    with watch.making([ONE, TWO]) as made:
        push(watch, ONE)
        made.stamps = [10, 20]
    assert made.touched == [ONE]
    assert heard.dropped == []
    # What may be another by now is not known; the other is.
    assert watch.table.known([ONE, TWO]) == [None, 20]


def test_what_was_made_here_and_touched_by_nobody_else_stays(watch: Watch, heard: Heard) -> None:
    with watch.comparing([ONE, TWO], {ONE: 10, TWO: 20}) as present:
        present([10, 21])
    assert heard.dropped == [TWO]
    assert watch.table.known([ONE, TWO]) == [10, None]


def test_what_cannot_be_compared_is_dropped(watch: Watch, heard: Heard) -> None:
    with watch.comparing([ONE], {ONE: 10}):
        raise TierError("out", tier="redis")
    assert heard.dropped == [ONE]
    with pytest.raises(KeyboardInterrupt), watch.comparing([TWO], {TWO: 20}):
        raise KeyboardInterrupt
    assert heard.dropped == [ONE, TWO]


def test_names_that_were_not_made_after_a_push_are_dropped(watch: Watch, heard: Heard) -> None:
    def make() -> None:
        with watch.making([ONE]):
            push(watch, ONE)
            raise TierError("out", tier="redis")

    with pytest.raises(TierError):
        make()
    assert heard.dropped == [ONE]


def test_a_push_of_what_was_made_here_while_the_feed_began_drops_nothing(heard: Heard) -> None:
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
    with watch.making([ONE, TWO]) as made:
        made.stamps = [10, 20]
    push(watch, ONE, TWO)
    assert heard.dropped == [TWO]  # Somebody has bumped it since.
    push(watch, ONE)
    assert heard.dropped == [TWO, ONE]
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
    monkeypatch.setattr(redis_watch, "Feed", Silent)
    FEEDS.clear()
    servers: list[Any] = ["a", "b"]
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
    servers[1] = "c"

    def another_finds_out(yes: bool) -> None:
        if not yes and len(FEEDS) == 2:
            watch.carried(1, 0.0)

    monkeypatch.setattr(heard, "up", another_finds_out)
    watch.carried(0, 0.0)
    assert [feed.open for feed in FEEDS] == [False, False, True, True]
    watch.close()
    assert not any(feed.open for feed in FEEDS)
