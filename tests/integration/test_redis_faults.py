"""What the Redis tier does when its server, the network or the callers misbehave."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from millpond.errors import TierError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry
from millpond.tiers.redis import RedisTier
from tests.integration.faces import Face, RedisFaces
from tests.integration.faults import FaultProxy
from tests.integration.servers import RedisServer, wait_until

BUDGET = 0.05
# How late an answer may be on a machine that does other things too; usually it is 5 ms, as the
# best of several shows.
LATE = 0.25
NAME = "0123456789abcdef" * 2


@pytest.fixture
def proxy(redis_server: RedisServer, redis_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server) as proxy:
        yield proxy


def at(proxy: FaultProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}"


def entry(key: str, data: bytes = b"data", **other: Any) -> Entry:
    return Entry(key, data, 60.0, **other)


def failure(call: Callable[[], Any]) -> TierError:
    with pytest.raises(TierError) as caught:
        call()
    return caught.value


def timed(face: Face, call: Callable[[], Any]) -> float:
    """Seconds by which a call that must time out was late."""
    face.seconds = BUDGET
    start = time.monotonic()
    assert isinstance(failure(call), TierTimeoutError)
    late = time.monotonic() - start - BUDGET
    assert -0.001 < late < LATE
    return late


def test_a_server_that_is_not_there_is_unavailable_at_once(
    redis_faces: RedisFaces, own_redis: RedisServer
) -> None:
    own_redis.stop()
    face = redis_faces(own_redis.url)
    start = time.monotonic()
    error = failure(lambda: face.fetch(["k"], []))
    assert (error.kind, error.tier) == ("unavailable", "redis")
    assert f"127.0.0.1:{own_redis.port}" in str(error)
    assert time.monotonic() - start < 1


def test_a_restart_in_a_pause_is_not_noticed(
    redis_faces: RedisFaces, own_redis: RedisServer
) -> None:
    face = redis_faces(own_redis.url)
    face.store([entry("k")])
    own_redis.restart()
    assert face.fetch(["k"], []).data == [None]
    own_redis.restart()
    assert face.incr("n", 1, None) == 1
    own_redis.kill()
    assert failure(lambda: face.fetch(["k"], [])).kind == "unavailable"
    own_redis.start()
    assert face.store([entry("k")]) == [True]


def test_a_frozen_server_costs_the_deadline_and_no_more(
    redis_faces: RedisFaces, own_redis: RedisServer
) -> None:
    face = redis_faces(own_redis.url)
    face.store([entry("k", b"mine")])
    own_redis.freeze()
    late = [timed(face, lambda: face.fetch(["k"], [])) for _ in range(7)]
    assert min(late) < 0.012
    own_redis.thaw()
    face.seconds = 5
    for n in range(20):
        assert face.fetch([f"none{n}"], []).data == [None]
        assert face.fetch(["k"], []).data == [b"mine"]


@pytest.mark.parametrize("fault", ["drip", "freeze", "half_open", "latency"])
def test_a_slow_network_costs_the_deadline_and_no_more(
    redis_faces: RedisFaces, proxy: FaultProxy, fault: Any
) -> None:
    face = redis_faces(at(proxy))
    face.store([entry("k", b"mine" * 100)])
    proxy.set(fault)
    for _ in range(3):
        timed(face, lambda: face.fetch(["k"], []))
        timed(face, lambda: face.incr("n", 1, None))
    proxy.heal()
    face.seconds = 5
    assert face.fetch(["k"], []).data == [b"mine" * 100]
    assert face.fetch(["none"], []).data == [None]


@pytest.mark.parametrize("fault", ["drip", "freeze", "latency"])
def test_connecting_is_within_the_deadline_too(
    redis_faces: RedisFaces, proxy: FaultProxy, fault: Any
) -> None:
    proxy.set(fault)
    face = redis_faces(at(proxy).replace("redis://", "redis://default:pw@"))
    timed(face, lambda: face.fetch(["k"], []))


@pytest.mark.parametrize("fault", ["truncate", "reset"])
@pytest.mark.parametrize("after", [0, 1, 5, 100])
def test_a_reply_that_is_cut_off_is_unavailable_or_asked_for_again(
    redis_faces: RedisFaces, proxy: FaultProxy, fault: Any, after: int
) -> None:
    face = redis_faces(at(proxy))
    face.store([entry("k", b"mine" * 100)])
    proxy.set(fault, after=after, to="open")
    if after:
        assert failure(lambda: face.fetch(["k"], [])).kind == "unavailable"
    assert face.fetch(["k"], []).data == [b"mine" * 100]


def test_a_number_is_never_added_to_twice(redis_faces: RedisFaces, proxy: FaultProxy) -> None:
    face = redis_faces(at(proxy))
    for n in range(5):
        assert face.incr("n", 1, None) == 2 * n + 1
        # The server adds, and its answer is lost.
        proxy.set("reset", to="open")
        assert failure(lambda: face.incr("n", 1, None)).kind == "unavailable"
        proxy.heal()


def test_garbage_is_damage_and_the_connection_is_dropped(
    redis_faces: RedisFaces, proxy: FaultProxy
) -> None:
    face = redis_faces(at(proxy))
    face.store([entry("k", b"mine" * 100)])
    proxy.set("corrupt", every=1, to="open")
    assert failure(lambda: face.fetch(["k"], [])).kind == "damaged"
    wait_until(lambda: proxy.open_count == 0, "the connection is dropped")
    assert face.fetch(["k"], []).data == [b"mine" * 100]


def test_a_server_that_speaks_something_else_is_damage(redis_faces: RedisFaces) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                peer, _ = listener.accept()
                with peer:
                    peer.recv(1000)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        face = redis_faces(f"redis://127.0.0.1:{port}")
        assert failure(lambda: face.fetch(["k"], [])).kind == "damaged"
        assert failure(lambda: face.open()).kind == "damaged" if face.runner is None else True
        with socket.create_connection(("127.0.0.1", port)) as last:
            last.sendall(b"x")
            thread.join() if face.runner else None
        thread.join()


def test_a_full_server_takes_no_entry_but_every_invalidation(redis_faces: RedisFaces) -> None:
    with RedisServer(maxmemory="3mb") as server:
        face = redis_faces(server.url)
        face.store([entry("k")])
        [stamp] = face.stamp([NAME])
        error = None
        for n in range(10_000):
            try:
                face.store([entry(f"fill{n}", b"x" * 10_000)])
            except TierError as full:
                error = full
                break
        assert error is not None
        assert error.kind == "full"
        assert failure(lambda: face.write([entry("w")])).kind == "full"
        assert face.fetch(["k"], []).data == [b"data"]
        assert face.bump([NAME])[0] > stamp
        assert face.delete(["k", "none"]) == [True, False]
        assert min(face.fetch(["k", "none"], []).guards) > 0


def test_a_replica_reads_and_is_not_ready_to_write(redis_faces: RedisFaces) -> None:
    with RedisServer() as primary, RedisServer(replica_of=primary) as replica:
        redis_faces(primary.url).store([entry("k")])
        face = redis_faces(replica.url)
        wait_until(lambda: face.fetch(["k"], []).data == [b"data"], "the replica has the entry")
        for call in (
            lambda: face.store([entry("k")]),
            lambda: face.bump([NAME]),
            lambda: face.incr("n", 1, None),
        ):
            assert failure(call).kind == "not_ready"
        with replica.client() as client:
            client.config_set("replica-serve-stale-data", "no")
        primary.kill()
        wait_until(
            lambda: "MASTERDOWN" in str(_error(lambda: face.fetch(["k"], []))), "it knows", 20
        )
        assert failure(lambda: face.fetch(["k"], [])).kind == "not_ready"


def _error(call: Callable[[], Any]) -> TierError | None:
    try:
        call()
    except TierError as error:
        return error
    return None


def test_a_server_that_loads_is_not_ready(redis_faces: RedisFaces) -> None:
    with RedisServer() as server:
        face = redis_faces(server.url)
        face.store([entry(f"k{n}") for n in range(2000)])
        with server.client() as client, server.client(socket_timeout=30) as other:
            client.config_set("key-load-delay", 2000)
            client.config_set("loading-process-events-interval-bytes", 1024)
            thread = threading.Thread(target=other.execute_command, args=("DEBUG", "RELOAD"))
            thread.start()
            try:
                wait_until(lambda: _error(lambda: face.fetch(["k0"], [])), "it loads", 10)
                assert failure(lambda: face.fetch(["k0"], [])).kind == "not_ready"
            finally:
                client.config_set("key-load-delay", 0)
                thread.join()
        assert face.fetch(["k0"], []).data == [b"data"]


ACL = ("user default off", "user app on >s3cret ~* +@all", "user few on >s3cret ~* +get")


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("", "NOAUTH"),
        (":s3cret@", "WRONGPASS"),
        ("app:wr0ng@", "WRONGPASS"),
        ("few:s3cret@", "NOPERM"),
    ],
)
def test_who_may_not_is_told_so_without_the_password(
    redis_faces: RedisFaces, user: str, words: str
) -> None:
    with RedisServer(acl=ACL) as server:
        face = redis_faces(server.url.replace("redis://", f"redis://{user}"))
        error = failure(lambda: face.fetch(["k"], []))
        assert error.kind == "configuration"
        assert words in str(error)
        chain: BaseException | None = error
        while chain is not None:
            assert "cret" not in str(chain)
            assert "wr0ng" not in str(chain)
            chain = chain.__cause__ or chain.__context__
        right = redis_faces(server.url.replace("redis://", "redis://app:s3cret@"))
        assert right.store([entry("k")]) == [True]


def test_a_password_that_nobody_asked_for_is_a_configuration_error(
    redis_faces: RedisFaces, redis_url: str
) -> None:
    face = redis_faces(redis_url.replace("redis://", "redis://:pw@"))
    assert failure(lambda: face.fetch(["k"], [])).kind == "configuration"


def test_databases_are_apart_and_one_that_is_not_there_is_a_configuration_error(
    redis_faces: RedisFaces, redis_url: str
) -> None:
    redis_faces(f"{redis_url}/1").store([entry("k", b"one")])
    assert redis_faces(f"{redis_url}/0").fetch(["k"], []).data == [None]
    assert redis_faces(f"{redis_url}/1").fetch(["k"], []).data == [b"one"]
    assert failure(lambda: redis_faces(f"{redis_url}/9").fetch(["k"], [])).kind == "configuration"


# ---- many callers


def test_threads_wait_for_a_connection_within_their_deadline(redis_url: str) -> None:
    tier = RedisTier(redis_url, max_connections=3)
    with ThreadPoolExecutor(12) as pool:

        def work(n: int) -> bool:
            tier.store([entry(f"k{n}", b"%d" % n)], Deadline.after(5))
            return tier.fetch([f"k{n}"], [], Deadline.after(5)).data == [b"%d" % n]

        assert all(pool.map(work, range(600)))
        assert tier._single is not None
        assert tier._single.pool.size <= 3
    tier.close()


def test_a_pool_in_use_costs_the_deadline_and_says_so(own_redis: RedisServer) -> None:
    tier = RedisTier(own_redis.url, max_connections=2)
    with ThreadPoolExecutor(2) as pool:
        for call in [pool.submit(tier.fetch, ["k"], [], Deadline.after(5)) for _ in range(2)]:
            call.result()
        own_redis.freeze()
        stuck = [pool.submit(tier.fetch, ["k"], [], Deadline.after(0.5)) for _ in range(2)]
        assert tier._single is not None
        wait_until(lambda: not tier._single.pool._idle, "both are in use")  # type: ignore[union-attr]
        face = Face(tier, None)
        timed(face, lambda: face.fetch(["k"], []))
        for one in stuck:
            assert isinstance(one.exception(), TierTimeoutError)
        own_redis.thaw()
    face.seconds = 5
    assert face.fetch(["k"], []).data == [None]
    tier.close()


def test_eight_threads_and_two_hundred_tasks_get_each_their_own(redis_url: str) -> None:
    tier = RedisTier(redis_url)
    for n in range(64):
        tier.store([entry(f"k{n}", b"%d" % n * 50)], Deadline.after(5))

    def thread(seed: int) -> None:
        pick = random.Random(seed)
        for _ in range(200):
            wanted = pick.choices(range(64), k=pick.choice((1, 1, 3, 20)))
            data = tier.fetch([f"k{n}" for n in wanted], [NAME], Deadline.after(5)).data
            assert data == [b"%d" % n * 50 for n in wanted]

    async def task(seed: int) -> None:
        pick = random.Random(seed)
        for _ in range(20):
            wanted = pick.choices(range(64), k=pick.choice((1, 1, 3, 20)))
            found = await tier.afetch([f"k{n}" for n in wanted], [], Deadline.after(5))
            assert found.data == [b"%d" % n * 50 for n in wanted]

    async def tasks() -> None:
        await asyncio.gather(*(task(seed) for seed in range(200)))

    with ThreadPoolExecutor(9) as pool:
        running = [pool.submit(thread, seed) for seed in range(8)]
        running.append(pool.submit(asyncio.run, tasks()))
        for one in running:
            one.result()
    tier.close()


@pytest.mark.parametrize("seed", range(3))
def test_cancelled_tasks_leave_no_reply_to_others(redis_url: str, seed: int) -> None:
    tier = RedisTier(redis_url)
    pick = random.Random(seed)
    for n in range(50):
        tier.store([entry(f"k{n}", b"%d" % n * pick.choice((1, 100, 30_000)))], Deadline.after(5))
    expected = {n: tier.fetch([f"k{n}"], [], Deadline.after(5)).data for n in range(50)}
    answers = 0

    async def look(n: int) -> None:
        nonlocal answers
        found = await tier.afetch([f"k{n}"], [], Deadline.after(5))
        assert found.data == expected[n]
        answers += 1

    async def storm() -> None:
        for _ in range(40):
            tasks = [asyncio.create_task(look(pick.randrange(50))) for _ in range(50)]
            for _ in range(pick.randrange(4)):
                await asyncio.sleep(0)
            for task in pick.sample(tasks, 25):
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), result
        await tier.aclose()

    asyncio.run(storm())
    assert answers >= 1000
    tier.close()


def test_a_task_out_of_time_harms_no_other(proxy: FaultProxy) -> None:
    tier = RedisTier(at(proxy))

    async def main() -> None:
        await tier.astore([entry("k", b"mine"), entry("l", b"other")], Deadline.after(5))
        proxy.set("latency", seconds=0.1)
        patient = [asyncio.create_task(tier.afetch([k], [], Deadline.after(5))) for k in "kl" * 20]
        await asyncio.sleep(0)
        hasty = [asyncio.create_task(tier.afetch(["k"], [], Deadline.after(0.02))) for _ in "123"]
        for result in await asyncio.gather(*hasty, return_exceptions=True):
            assert isinstance(result, TierTimeoutError)
        found = [one.data for one in await asyncio.gather(*patient)]
        assert found == [[b"mine"], [b"other"]] * 20
        await tier.aclose()

    asyncio.run(main())
    tier.close()


def test_tasks_write_to_no_link_that_a_write_has_found_broken(
    proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    tier = RedisTier(at(proxy))

    async def main() -> None:
        await tier.afetch(["k"], [], Deadline.after(5))
        proxy.cut(reset=True)  # While this loop does not look.
        looks = (tier.afetch(["k"], [], Deadline.after(5)) for _ in range(50))
        found = await asyncio.gather(*looks, return_exceptions=True)
        assert [one for one in found if isinstance(one, BaseException)] == []
        await tier.aclose()

    asyncio.run(main())
    tier.close()
    # asyncio says so when much is written to what is broken.
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


def test_each_event_loop_has_a_link_of_its_own_that_ends_with_it(
    redis_url: str, redis_server: RedisServer
) -> None:
    tier = RedisTier(redis_url)
    with redis_server.client() as client:
        before = len(client.client_list())
        for _ in range(3):
            asyncio.run(tier.afetch(["k"], [], Deadline.after(5)))

        async def look() -> None:
            for _ in range(20):
                await tier.afetch(["k"], [], Deadline.after(5))

        threads = [threading.Thread(target=lambda: asyncio.run(look())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(client.client_list()) == before, "the loops' links are gone")
    tier.close()


def test_the_child_of_a_fork_uses_connections_of_its_own(
    redis_url: str, redis_server: RedisServer
) -> None:
    tier = RedisTier(redis_url)
    tier.store([entry("k", b"parent")], Deadline.after(5))

    async def alook() -> list[bytes | None]:
        return (await tier.afetch(["k"], [], Deadline.after(5))).data

    with asyncio.Runner() as runner, redis_server.client() as client:
        assert runner.run(alook()) == [b"parent"]
        mine = {one["addr"] for one in client.client_list()}
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for _ in range(50):
                    assert tier.fetch(["k"], [], Deadline.after(5)).data == [b"parent"]
                assert asyncio.run(alook()) == [b"parent"]
                tier.store([entry("child", b"child")], Deadline.after(5))
                # The child has a reaper, too: here a reply is missing.
                assert tier._single is not None
                exchange = tier._single.pool.exchange
                end = time.monotonic() + BUDGET
                timed(Face(tier, None), lambda: exchange(b"*1\r\n$4\r\nTIME\r\n", 2, end))
                status = 0
            finally:
                os._exit(status)
        for _ in range(50):
            assert tier.fetch(["k"], [], Deadline.after(5)).data == [b"parent"]
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert runner.run(alook()) == [b"parent"]
        assert tier.fetch(["child"], [], Deadline.after(5)).data == [b"child"]
        assert mine <= {one["addr"] for one in client.client_list()}
        runner.run(tier.aclose())
    tier.close()


def test_closing_ends_what_is_under_way(own_redis: RedisServer) -> None:
    tier = RedisTier(own_redis.url)
    tier.fetch(["k"], [], Deadline.after(5))
    own_redis.freeze()
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(tier.fetch, ["k"], [], Deadline.after(30))
        assert tier._single is not None
        wait_until(lambda: not tier._single.pool._idle, "it is in use")  # type: ignore[union-attr]
        tier.close()
        assert isinstance(stuck.exception(5), TierError)
    own_redis.thaw()
    assert tier.fetch(["k"], [], Deadline.after(5)).data == [None]
    tier.close()
