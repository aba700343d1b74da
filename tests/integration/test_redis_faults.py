"""What the Redis tier does when its server, the network or the callers misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from millpond.errors import TierError
from tests.integration.faces import RedisFaces, at, entry, failure, timed
from tests.integration.faults import FaultProxy
from tests.integration.servers import RedisServer, wait_until

NAME = "0123456789abcdef" * 2


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
        # Larger than what the server gives back when its buffers shrink.
        large = entry("w", b"x" * 300_000)
        assert failure(lambda: face.write([large])).kind == "full"
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
