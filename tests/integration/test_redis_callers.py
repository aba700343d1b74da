"""What many callers of a Redis tier get at once: threads, tasks, event loops, children of forks."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from millpond.errors import TierError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.tiers.redis import RedisTier
from tests.integration.faces import BUDGET, Face, at, entry, timed
from tests.integration.faults import FaultProxy
from tests.integration.servers import RedisServer, wait_until

NAME = "0123456789abcdef" * 2


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
        pool_of = tier._single.pool
        wait_until(lambda: not pool_of._idle, "both are in use")
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
        pool_of = tier._single.pool
        wait_until(lambda: not pool_of._idle, "it is in use")
        tier.close()
        assert isinstance(stuck.exception(5), TierError)
    own_redis.thaw()
    assert tier.fetch(["k"], [], Deadline.after(5)).data == [None]
    tier.close()
