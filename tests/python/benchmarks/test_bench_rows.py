"""The parts of the rows: inputs, replays, probes, threads. They must measure what they say."""

from __future__ import annotations

import gzip
import json
import sys
from array import array
from collections import Counter, OrderedDict
from pathlib import Path

import pytest
from benchmarks import inputs, measure, probes
from benchmarks.model import Contender, Context, Row, Unavailable
from benchmarks.rows import all_rows, caches, hits, memory, ratios, sizes, threads, waiters


def test_zipf_draws_rank_r_with_weight_one_over_r() -> None:
    drawn = Counter(inputs.zipf(range(1_000), draws=50_000))
    shares = [count / 50_000 for _, count in drawn.most_common(3)]
    harmonic = sum(1 / rank for rank in range(1, 1_001))
    expected = [1 / harmonic / rank for rank in (1, 2, 3)]
    assert shares == pytest.approx(expected, rel=0.05)
    assert inputs.zipf(range(1_000)) == inputs.zipf(range(1_000))


def test_copies_are_equal_and_other_objects() -> None:
    keys = inputs.universe("str", 50)
    again = inputs.copies(keys)
    assert again == keys
    assert not any(a is b for a, b in zip(keys, again, strict=True))


@pytest.mark.parametrize("kind", ["str", "int"])
def test_new_keys_are_never_handed_out_twice(kind: str) -> None:
    fresh = inputs.new_keys(kind)
    handed = [*fresh(100), *fresh(1), *fresh(50)]
    assert len(set(handed)) == 151
    assert not set(handed) & set(inputs.universe(kind, 1_000))


def test_the_chat_payload_is_about_four_kilobytes_and_its_copies_are_new() -> None:
    payload = inputs.chat_payload()
    assert 3_500 <= len(json.dumps(payload)) <= 4_500
    first, second = inputs.payload_copies(payload)(2)
    assert first == second == payload
    text = [each["messages"][0]["content"] for each in (first, second)]
    assert text[0] is not text[1]


def test_a_cache_that_does_not_hold_its_keys_is_no_contender_for_hits() -> None:
    calls = [0]
    load = hits.counted(calls)
    with pytest.raises(Unavailable, match="misses 50 of 50"):
        hits.warm(load, list(range(50)), calls)


def test_a_walk_visits_every_key_before_it_repeats_one() -> None:
    context = Context()
    universe = sizes.Universe(1_000)
    with context.cleanup:
        keys = universe.keys(context)
        following = universe.walk()
        windows = [following(100) for _ in range(20)]
    visited = [key for window in windows[:10] for key in window]
    assert sorted(visited) == keys
    assert visited != keys
    assert windows[10:] == windows[:10]
    assert universe._keys == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_crowd_of_threads_makes_the_calls_that_it_counts(count: int) -> None:
    calls: list[int] = []
    crowd = threads.Crowd(calls.append, list(range(100)), count, sample_ns=100_000)
    calls.clear()
    rate = crowd()
    assert rate > 0
    assert len(calls) == count * len(crowd._sequence)


def _lru_model(size: int) -> ratios.Access:
    kept: OrderedDict[int, bool] = OrderedDict()

    def access(key: int) -> bool:
        if key in kept:
            kept.move_to_end(key)
            return True
        if len(kept) == size:
            kept.popitem(last=False)
        kept[key] = True
        return False

    return access


def _trace(length: int) -> list[int]:
    return inputs.zipf(range(1, 301), draws=length)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one small trace and its reference, made by the plain model."""
    folder = tmp_path / "traces"
    folder.mkdir()
    trace = _trace(2_000)
    (folder / "small.u32.gz").write_bytes(gzip.compress(array("I", trace).tobytes()))
    cell = {"lru": round(ratios.replay(_lru_model(40), trace), 3), "opt": 99.0}
    about = {"accesses": len(trace), "hit_ratio_percent": {"40": cell}}
    (folder / "reference.json").write_text(json.dumps({"unit_size": {"small": about}}))
    return tmp_path


def test_a_peer_replays_a_trace_as_the_plain_model_does() -> None:
    pytest.importorskip("cachetools")
    trace = _trace(3_000)
    found = ratios.replay(ratios.of_cachetools("LRUCache", 40), trace)
    assert found == ratios.replay(_lru_model(40), trace)
    assert 0 < found < 100


@pytest.mark.parametrize(("size_off", "met"), [(0, True), (1, False)])
def test_a_policy_row_finds_the_largest_difference_from_the_reference(
    data: Path, monkeypatch: pytest.MonkeyPatch, size_off: int, met: bool
) -> None:
    def modelled(policy: str | None, size: int) -> ratios.Access:
        return _lru_model(size + size_off)

    monkeypatch.setattr(ratios, "of_millpond", modelled)
    monkeypatch.setattr(ratios.peers, "need_millpond", lambda *names: None)
    (row,) = [row for row in ratios.rows() if row.name == "policy/lru"]
    result = measure.run_row(row, Context(quick=True, data=data))
    (target,) = result.as_json()["targets"]
    assert target["met"] is met
    assert result.notes["millpond"]["worst cell"] == "small@40"
    assert result.notes["millpond"]["cells"] == 1
    assert list(result.notes["millpond"].get("beyond the target", {})) == (
        [] if met else ["small@40"]
    )


def test_a_trace_that_the_folder_lacks_is_told(data: Path) -> None:
    row = next(row for row in ratios.rows() if row.name == "ratio/loop@500")
    result = measure.run_row(row, Context(quick=True, data=data))
    assert result.rounds == {}
    assert "no traces/loop.u32.gz" in result.skipped["cachetools LRU"]


glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts glibc's malloc")


@glibc
@pytest.mark.measures
def test_bytes_are_counted_as_getsizeof_tells_them_for_a_dict() -> None:
    size = 200_000
    found = probes.ask(memory.bytes_per_entry, name="dict", size=size)
    table = dict.fromkeys(inputs.universe("str", size))
    told = sys.getsizeof(table) - sys.getsizeof({})
    assert found["allocated"] * size == pytest.approx(told, rel=0.02)


@glibc
def test_a_probe_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'no such cache'"):
        probes.ask(memory.bytes_per_entry, name="no such cache", size=10)


@glibc
@pytest.mark.measures
def test_a_crowd_of_tasks_counts_calls_and_bytes() -> None:
    bare = probes.ask(waiters.crowd, name=waiters.FUTURE, tasks=2_000, keys=20)
    assert bare["calls"] == 0
    assert 400 < bare["bytes"] < 3_000


@glibc
def test_calls_of_tasks_that_wait_together_are_counted() -> None:
    pytest.importorskip("async_lru")
    found = probes.ask(waiters.crowd, name="async-lru", tasks=2_000, keys=20)
    assert found["calls"] == 20


@pytest.mark.measures
def test_processor_time_is_that_of_the_child() -> None:
    busy = probes.processor_ms("sum(range(10**7))", {})
    idle = probes.processor_ms("pass", {})
    assert busy > idle + 20
    with pytest.raises(RuntimeError, match="ended with 3"):
        probes.processor_ms("raise SystemExit(3)", {})


@pytest.mark.parametrize(
    "name", ["hit/keyword", "hit/two", "hit/method", "get/str", "set/evict", "miss/int", "size/1e3"]
)
def test_a_row_runs_with_what_the_standard_library_has(name: str) -> None:
    row = next(row for row in all_rows() if row.name == name)
    own = tuple(each for each in row.contenders if not each.peer)
    peers_own: tuple[Contender, ...] = own or row.contenders[2:3]
    result = measure.run_row(
        Row(row.name, row.title, peers_own, rounds=2, per_round=2), Context(sample_ns=20_000)
    )
    assert result.failed == {}
    for rounds in result.rounds.values():
        assert all(1 < value < 100_000 for value in rounds)


def test_a_plain_cache_that_lost_its_keys_is_no_contender_for_hits() -> None:
    class Forgetful(dict[object, object]):
        def get(self, key: object, default: object = None) -> object:
            return default

    with pytest.raises(Unavailable, match="misses 100 of 100"):
        caches.filled(
            lambda size: caches.Store(Forgetful(), set="cache[x] = x"), [*range(100)], 100
        )
