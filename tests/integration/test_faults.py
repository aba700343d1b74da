"""The fault proxy, before a real redis-server."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.integration.faults import FaultProxy
from tests.integration.servers import RedisServer, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = 0.15


@pytest.fixture
def proxy(redis_server: RedisServer, redis_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server) as proxy:
        yield proxy


def client(proxy: FaultProxy, **options: Any) -> redis.Redis:
    """Of one connection, that retries nothing and sends nothing but what it is told."""
    options = {"socket_timeout": 5, "retry": None, "driver_info": None} | options
    if proxy.socket_path:
        options["unix_socket_path"] = str(proxy.socket_path)
    else:
        options["port"] = proxy.port
    return redis.Redis(protocol=2, **options)


def ask(proxy: FaultProxy, request: bytes = b"PING\r\n") -> socket.socket:
    """A bare connection that has sent a request."""
    connection = socket.create_connection((proxy.host, proxy.port), timeout=5)
    connection.sendall(request)
    return connection


def drain(connection: socket.socket) -> None:
    """Read to the end."""
    while connection.recv(1000):
        pass


def test_passes_everything_on_and_counts(proxy: FaultProxy) -> None:
    value = bytes(range(256)) * 8192
    with client(proxy) as one:
        one.set("key", value)
        assert one.get("key") == value
        assert proxy.open_count == 1
        assert proxy.connections[0].up > len(value)
        assert proxy.connections[0].down > len(value)
    wait_until(lambda: proxy.open_count == 0, "the connection is closed")


def test_kill_closes_and_refuses_until_healed(proxy: FaultProxy) -> None:
    with client(proxy) as one:
        one.ping()
        proxy.set("kill")
        assert proxy.open_count == 0
        with pytest.raises(redis.ConnectionError):
            one.ping()
        with pytest.raises(redis.ConnectionError, match="refused"):
            one.ping()
        proxy.heal()
        assert one.ping()


def test_refuse_leaves_the_open_connections(proxy: FaultProxy) -> None:
    with client(proxy) as one, client(proxy) as other:
        one.ping()
        proxy.set("refuse")
        assert one.ping()
        with pytest.raises(redis.ConnectionError, match="refused"):
            other.ping()
        proxy.heal()
        assert other.ping()


def test_freeze_answers_when_healed(proxy: FaultProxy) -> None:
    proxy.set("freeze")
    with ask(proxy) as connection:
        connection.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxy.heal()
        connection.settimeout(5)
        assert connection.recv(100) == b"+PONG\r\n"


def test_latency_delays_and_does_not_slow_what_is_in_flight(proxy: FaultProxy) -> None:
    with client(proxy) as one:
        one.ping()
        proxy.set("latency", seconds=0.2, way="down")
        begun = time.monotonic()
        one.ping()
        assert 0.2 <= time.monotonic() - begun < 0.6
        proxy.heal()
        one.set("key", b"x" * 5_000_000)
        proxy.set("latency", seconds=0.2, way="down")
        begun = time.monotonic()
        one.get("key")
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize("way", ["up", "down"])
def test_half_open_says_nothing_ever(
    proxy: FaultProxy, redis_server: RedisServer, way: Any
) -> None:
    with ask(proxy, b"SET before 1\r\n") as connection:
        assert connection.recv(100) == b"+OK\r\n"
        proxy.set("half_open", way=way)
        connection.sendall(b"SET after 1\r\n")
        connection.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxy.heal()
        with pytest.raises(TimeoutError):
            connection.recv(100)
    with redis_server.client() as direct:
        assert direct.exists("after") == (way == "down")


def test_half_open_does_not_pass_on_the_end(proxy: FaultProxy, redis_server: RedisServer) -> None:
    with ask(proxy) as connection, redis_server.client() as direct:
        connection.recv(100)
        proxy.set("half_open", to="open")
        direct.client_kill_filter(_type="normal", skipme=True)
        connection.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            connection.recv(100)


def test_drip_sends_a_byte_at_a_time(proxy: FaultProxy) -> None:
    proxy.set("drip", seconds=0.02)
    begun = time.monotonic()
    with ask(proxy) as connection:
        pieces = [connection.recv(100) for _ in range(7)]
    assert b"".join(pieces) == b"+PONG\r\n"
    assert all(len(piece) == 1 for piece in pieces)
    assert time.monotonic() - begun >= 6 * 0.02


def test_truncate_ends_in_the_middle(proxy: FaultProxy) -> None:
    proxy.set("truncate", after=3)
    with ask(proxy) as connection:
        assert connection.recv(100) == b"+PO"
        assert connection.recv(100) == b""


def test_reset_ends_in_the_middle_by_rst(proxy: FaultProxy) -> None:
    proxy.set("reset", after=3)
    with ask(proxy) as connection:
        with pytest.raises(ConnectionResetError):
            drain(connection)
        assert proxy.open_count == 0


def test_corrupt_changes_bytes_and_not_their_number(proxy: FaultProxy) -> None:
    proxy.set("corrupt", after=1, every=3)
    with ask(proxy) as connection:
        got = connection.recv(100)
    assert got == bytes(
        byte ^ 0xFF if place in (3, 6) else byte for place, byte in enumerate(b"+PONG\r\n")
    )


def test_slow_accept_delays_new_connections_alone(proxy: FaultProxy) -> None:
    with client(proxy) as one:
        one.ping()
        proxy.set("slow_accept", seconds=0.3)
        begun = time.monotonic()
        one.ping()
        assert time.monotonic() - begun < 0.25
        with client(proxy) as other:
            other.ping()
        assert time.monotonic() - begun >= 0.3


def test_faults_for_new_or_open_or_chosen_connections(proxy: FaultProxy) -> None:
    with client(proxy, socket_timeout=SHORT) as old, client(proxy, socket_timeout=SHORT) as new:
        old.ping()
        proxy.set("freeze", to="new")
        assert old.ping()
        with pytest.raises(redis.TimeoutError):
            new.ping()
    proxy.heal()
    with client(proxy, socket_timeout=SHORT) as one, client(proxy, socket_timeout=SHORT) as two:
        one.ping()
        number = len(proxy.connections) - 1
        two.ping()
        proxy.set("freeze", to=number)
        assert two.ping()
        with pytest.raises(redis.TimeoutError):
            one.ping()
        assert one.ping()  # On another connection.
        proxy.set("freeze", to="open")
        with pytest.raises(redis.TimeoutError):
            two.ping()


def test_cuts_the_connection_that_sent_something(proxy: FaultProxy) -> None:
    with client(proxy) as one, ask(proxy, b"HELLO 3\r\nCLIENT TRACKING on\r\n") as tracking:
        one.ping()
        wait_until(lambda: proxy.find(b"TRACKING"), "the request has arrived")
        (number,) = proxy.find(b"TRACKING")
        tracking.recv(1000)
        assert proxy.cut(sent=b"TRACKING") == [number]
        assert one.ping()
        drain(tracking)
        assert proxy.find(b"TRACKING") == []
        assert proxy.open_count == 1


def test_unix_sockets_and_another_server(redis_server: RedisServer) -> None:
    with RedisServer(unix=True) as server, FaultProxy(server) as proxy:
        with client(proxy) as one:
            one.set("where", "unix")
            assert one.get("where") == b"unix"
            proxy.point_at(redis_server)
            assert one.get("where") == b"unix"
            proxy.cut()
            assert one.get("where") is None
        proxy.set("kill")
        with client(proxy) as one, pytest.raises(redis.ConnectionError):
            one.ping()


def test_a_server_that_is_down_resets(own_redis: RedisServer) -> None:
    with FaultProxy(own_redis) as proxy, client(proxy) as one:
        own_redis.kill()
        with pytest.raises(redis.ConnectionError):
            one.ping()
        own_redis.start()
        assert one.ping()


def test_ends_with_its_user(redis_server: RedisServer) -> None:
    with FaultProxy(redis_server) as proxy:
        assert proxy._process is not None
        process = proxy._process
    assert process.returncode == 0
