"""TierMonitor: what Python hands to the breaker and the statistics, and what it gets back.

The machine itself is simulated in tests/cpp/cache/tier_monitor_test.cpp.
"""

import os
import threading
from typing import Any

import pytest

from millpond._engine import TierMonitor
from millpond.errors import ConfigurationError, OptionTypeError, TierError, TierTimeoutError
from millpond.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def monitor(clock: ManualClock) -> TierMonitor:
    return TierMonitor("redis", clock=clock, seed=1)


def fail(monitor: TierMonitor, kind: str = "unavailable") -> None:
    while monitor.end(monitor.begin("fetch"), kind) != "opened":
        pass


def heal(monitor: TierMonitor, clock: ManualClock) -> str | None:
    """Make the probes that are due until one closes the breaker; the last notice."""
    notice: str | None = None
    while (wait := monitor.probe_in()) is not None:
        clock.advance(wait + 1e-6)
        probe = monitor.begin_probe()
        assert probe
        notice = monitor.end_probe(probe[1])
    return notice


def test_an_operation_is_counted_with_its_bytes_and_its_latency(
    monitor: TierMonitor, clock: ManualClock
) -> None:
    ticket = monitor.begin("fetch")
    clock.advance(0.002)
    assert monitor.snapshot()["in_flight"] == 1
    assert monitor.end(ticket, None, 812, 7) is None

    seen = monitor.snapshot()
    assert (seen["name"], seen["state"], seen["full"]) == ("redis", "closed", False)
    assert (seen["bytes_in"], seen["bytes_out"], seen["in_flight"]) == (812, 7, 0)
    fetch = seen["operations"].pop("fetch")
    assert seen["operations"] == {}
    latency = fetch.pop("latency")
    assert fetch == {
        "calls": 1,
        "refused": 0,
        "cancelled": 0,
        "errors": {},
        "bytes_in": 812,
        "bytes_out": 7,
    }
    assert latency.pop("count") == 1
    assert latency.pop("relative_accuracy") == pytest.approx(0.01083, abs=1e-5)
    assert set(latency) == {"mean", "min", "p50", "p90", "p95", "p99", "max"}
    assert all(value == pytest.approx(0.002, abs=2e-7) for value in latency.values())


def test_quantiles_are_within_their_error(monitor: TierMonitor, clock: ManualClock) -> None:
    for millisecond in range(1, 1001):
        ticket = monitor.begin("fetch")
        clock.advance(millisecond * 1e-5)
        monitor.end(ticket)
    latency = monitor.snapshot()["operations"]["fetch"]["latency"]
    for name, exact in (("p50", 5e-3), ("p90", 9e-3), ("p95", 9.5e-3), ("p99", 9.9e-3)):
        assert latency[name] == pytest.approx(exact, rel=0.0109)


def test_what_the_tiers_raise_is_told_by_its_kind(monitor: TierMonitor) -> None:
    errors: list[TierError] = [
        TierError("refused", kind="unavailable"),
        TierError("loading", kind="not_ready"),
        TierError("no memory", kind="full"),
        TierError("not permitted", kind="configuration"),
        TierTimeoutError("late"),
    ]
    for error in errors:
        monitor.end(monitor.begin("fetch"))
        monitor.end(monitor.begin("fetch"))
        monitor.end(monitor.begin("fetch"), error.kind)
    assert monitor.snapshot()["errors"] == {error.kind: 1 for error in errors}


def test_a_tier_that_is_out_is_not_asked_and_is_back_after_good_probes(
    monitor: TierMonitor, clock: ManualClock
) -> None:
    assert monitor.probe_in() is None
    assert monitor.begin_probe() is None
    fail(monitor)
    assert monitor.state == "open"
    assert monitor.begin("fetch") == monitor.begin("delete") == -1
    wait = monitor.probe_in()
    assert wait is not None
    assert 0.4 <= wait <= 0.5
    assert monitor.begin_probe() is None

    clock.advance(wait + 1e-6)
    assert monitor.probe_in() == 0.0
    probe = monitor.begin_probe()
    assert probe
    assert probe[0] == "read"
    assert monitor.state == "half_open"
    assert monitor.end_probe(probe[1], "timeout") is None
    assert heal(monitor, clock) == "closed"

    assert monitor.state == "closed"
    assert monitor.begin("fetch") >= 0
    seen = monitor.snapshot()
    assert seen["refused"] == 2
    assert (seen["probes"], seen["failed_probes"]) == (3, 1)
    outages = seen["outages"]
    assert (outages["count"], outages["present"]) == (1, None)
    [outage] = outages["recent"]
    assert outage["cause"] == "unavailable"
    assert outage["seconds"] == outages["seconds"] == pytest.approx(1.3, abs=0.2)
    assert outage["ago"] == pytest.approx(outage["seconds"])


def test_a_full_tier_still_answers(monitor: TierMonitor, clock: ManualClock) -> None:
    notices = [monitor.end(monitor.begin("store"), "full") for _ in range(5)]
    assert notices == [None, None, None, None, "full"]
    assert (monitor.state, monitor.full) == ("closed", True)
    assert monitor.begin("store") == monitor.begin("incr") == -2
    assert monitor.begin("fetch") >= 0
    assert monitor.begin("bump") >= 0
    clock.advance(1)
    probe = monitor.begin_probe()
    assert probe
    assert probe[0] == "write"
    assert monitor.end_probe(probe[1]) is None
    assert heal(monitor, clock) == "room"
    assert monitor.begin("store") >= 0
    assert monitor.snapshot()["times_full"] == 1


def test_a_configuration_error_is_said_once(monitor: TierMonitor) -> None:
    notices: list[str | None] = []
    for _ in range(3):
        monitor.end(monitor.begin("fetch"))
        monitor.end(monitor.begin("fetch"))
        notices.append(monitor.end(monitor.begin("scan"), "configuration"))
    assert notices == ["configuration", None, None]


def test_the_present_outage_is_told_with_its_cause(
    monitor: TierMonitor, clock: ManualClock
) -> None:
    fail(monitor, "not_ready")
    clock.advance(3)
    outages = monitor.snapshot()["outages"]
    assert outages["present"] == {"seconds": pytest.approx(3), "cause": "not_ready"}
    assert outages["seconds"] == pytest.approx(3)


def test_slow_calls_open_it(clock: ManualClock) -> None:
    monitor = TierMonitor("sqlite", clock=clock, slow=0.01)
    notice: str | None = None
    for _ in range(5):
        ticket = monitor.begin("fetch")
        clock.advance(0.011)
        notice = monitor.end(ticket)
    assert notice == "opened"
    assert monitor.snapshot()["outages"]["present"]["cause"] == "slow"


def test_events_are_counted(monitor: TierMonitor) -> None:
    monitor.count("hit")
    monitor.count("hit", 41)
    monitor.count("absent", 2)
    monitor.count("stale_generation", 3)
    monitor.count("expired", 4)
    monitor.count("unreadable", 5)
    monitor.count("fill_refused", 6)
    monitor.count("fill_dropped", 7)
    monitor.count("stale", 8)
    monitor.count("stale_hit", 9)
    seen = monitor.snapshot()
    assert seen["hits"] == 42
    assert seen["misses"] == {
        "absent": 2,
        "stale_generation": 3,
        "expired": 4,
        "stale": 8,
        "unreadable": 5,
    }
    assert seen["stale_hits"] == 9
    assert (seen["fills_refused"], seen["fills_dropped"]) == (6, 7)


def test_names_need_not_be_the_interned_ones(monitor: TierMonitor) -> None:
    anything: Any = monitor
    anything.end(anything.begin(str(b"fetch", "ascii")), str(b"cancelled", "ascii"))
    assert monitor.snapshot()["operations"]["fetch"]["cancelled"] == 1


def test_what_is_not_a_name_is_refused_with_what_is(monitor: TierMonitor) -> None:
    anything: Any = monitor
    for call, message in (
        (lambda: anything.begin("fitch"), 'operation=\'fitch\': allowed is "fetch", "store"'),
        (lambda: anything.begin(3), "operation=3: allowed"),
        (lambda: anything.end(0, "lost"), 'outcome=\'lost\': allowed is "ok", "timeout"'),
        (lambda: anything.count("miss"), 'event=\'miss\': allowed is "hit", "absent"'),
    ):
        with pytest.raises(ConfigurationError) as caught:
            call()
        assert message in str(caught.value)


def test_what_cannot_be_is_refused(monitor: TierMonitor) -> None:
    anything: Any = monitor
    with pytest.raises(ValueError, match="refused"):
        monitor.end(-1)
    for wrong in (
        lambda: anything.end(),
        lambda: anything.end("ticket"),
        lambda: anything.end(0, None, "many"),
        lambda: anything.count(),
        lambda: anything.end_probe(),
        lambda: anything.end_probe(None),
    ):
        with pytest.raises(TypeError):
            wrong()
    for negative in (lambda: anything.end(0, None, -1), lambda: anything.count("hit", -1)):
        with pytest.raises(OverflowError):
            negative()


def test_options_are_checked(clock: ManualClock) -> None:
    anything: Any = TierMonitor
    for slow in (0, -1, 3601, float("nan")):
        with pytest.raises(ConfigurationError, match="slow"):
            TierMonitor("redis", slow=slow)
    with pytest.raises(OptionTypeError, match="clock"):
        anything("redis", clock=3)
    with pytest.raises(TypeError):
        anything(3)
    assert repr(TierMonitor("redis", clock=clock)) == "<TierMonitor 'redis' closed>"


def test_the_system_clock_serves_where_none_is_given() -> None:
    monitor = TierMonitor("redis")
    ticket = monitor.begin("fetch")
    monitor.end(ticket)
    assert 0 <= monitor.snapshot()["operations"]["fetch"]["latency"]["max"] < 60


def test_threads_count_together(monitor: TierMonitor) -> None:
    def work() -> None:
        for _ in range(2000):
            monitor.end(monitor.begin("fetch"), None, 1, 2)
            monitor.count("hit")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = monitor.snapshot()
    assert seen["hits"] == seen["operations"]["fetch"]["calls"] == 8000
    assert (seen["bytes_in"], seen["bytes_out"], seen["in_flight"]) == (8000, 16000, 0)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_counts_from_zero_and_knows_what_is_out() -> None:
    monitor = TierMonitor("redis")
    monitor.count("hit", 5)
    fail(monitor)
    child = os.fork()
    if child == 0:
        seen = monitor.snapshot()
        good = (seen["hits"], seen["operations"], monitor.begin("fetch")) == (0, {}, -1)
        good = good and monitor.probe_in() == 0.0
        os._exit(7 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert monitor.snapshot()["hits"] == 5
