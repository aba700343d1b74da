"""Each fault under traffic: a sample with fixed seeds; `make soak` runs the whole matrix.

8 threads and 200 tasks call cached functions while a tier fails. No call fails, none is given
anything wrong or anything that was reported invalidated, none takes much longer than without the
fault, and all is as before within 2 s of the fault's end.
"""

from __future__ import annotations

import time

import pytest

from millpond import Cache, Engine
from tests.integration.matrix.copies import Copies
from tests.integration.matrix.run import run
from tests.integration.matrix.table import FAULTS, fault
from tests.integration.matrix.truth import Bounds, Truth
from tests.integration.servers import RedisServer, wait_until

SAMPLE = [
    ("redis", "killed"),
    ("redis", "stopped"),
    ("redis", "reset in mid-reply"),
    ("sqlite", "locked by another process"),
    ("postgresql", "killed"),
    ("cluster", "primary killed"),
    ("sentinel", "failover"),
]


@pytest.mark.measures
@pytest.mark.parametrize(("tiers", "name"), SAMPLE)
def test_calls_survive(tiers: str, name: str) -> None:
    effect = run(tiers, fault(tiers, name), seed=SAMPLE.index((tiers, name)))
    assert effect.calls > 300
    assert effect.violations() == [], effect.row()


def test_the_matrix_has_every_fault_of_the_sample() -> None:
    for tiers, name in SAMPLE:
        assert name in [one.name for one in FAULTS[tiers]]


# ---- What a failover could lose


def test_what_a_replica_has_not_got_is_not_kept() -> None:
    with RedisServer() as primary, RedisServer(replica_of=primary) as replica:
        mill = Engine(redis=primary.url, database=False, namespace="soak", cache=Cache())
        with mill, Copies([primary, replica], "soak") as copies:
            since = time.time()
            assert not copies.keep("t", since)
            assert mill.invalidate(tags="t").done
            wait_until(lambda: copies.keep("t", since), "the replica has it")
            with replica.client() as client:
                client.replicaof("NO", "ONE")
            since = time.time()
            assert mill.invalidate(tags="t").done
            assert not copies.keep("t", since)
            replica.kill()
            assert copies.keep("t", since), "only the living may take the primary's place"


# ---- The judge


def test_own_invalidations_have_no_bound_and_those_of_others_do() -> None:
    truth = Truth(2, Bounds(up=1.0, down=5.0))
    version = truth.change(0)
    truth.reported(0, version, own=True)
    truth.reported(1, truth.change(1), own=False)
    (now,) = [at for at, _ in truth._own[0]]
    assert truth.late(0, 1, now) is None
    assert truth.late(0, 1, now + 0.1) is not None
    assert truth.late(0, version, now + 9) is None
    assert truth.late(1, 1, now + 0.9) is None
    assert truth.late(1, 1, now + 1.1) is not None


def test_the_bound_is_longer_while_others_are_not_heard() -> None:
    truth = Truth(1, Bounds(up=0.1, down=5.0))
    truth.deaf()
    truth.reported(0, truth.change(0), own=False)
    ((now, _),) = truth._others[0]
    assert truth.late(0, 1, now + 4.9) is None
    assert truth.late(0, 1, now + 5.1) is not None
    truth.hearing()
    assert truth.late(0, 1, now + 1.0) is not None


def test_what_the_source_never_had_is_wrong() -> None:
    truth = Truth(2, Bounds(0.1, 1.0))
    assert not truth.is_wrong(0, truth.compute(0))
    assert truth.is_wrong(0, truth.compute(1))
    assert truth.is_wrong(0, truth.compute(0) | {"version": 2})
    assert truth.is_wrong(0, truth.compute(0) | {"pad": ""})
    assert truth.is_wrong(0, None)
