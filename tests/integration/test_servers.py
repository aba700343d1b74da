"""The servers of the tests: they start, obey, and never outlive the tests."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import redis

from tests.integration import process
from tests.integration.servers import (
    PgBouncer,
    PostgresServer,
    RedisServer,
    certificates,
    wait_until,
)

ROOT = Path(__file__).parents[2]


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that its new parent has not reaped has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_redis_listens_where_it_says_and_leaves_nothing() -> None:
    with RedisServer() as server:
        with server.client() as client, redis.Redis.from_url(server.url) as other:
            client.set("key", "value")
            assert other.get("key") == b"value"
        pid, folder = server.pid, server.folder
    assert gone(pid)
    assert not folder.exists()


def test_redis_on_a_unix_socket() -> None:
    with RedisServer(unix=True) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert client.config_get("port") == {"port": "0"}


@pytest.mark.parametrize("tls", [True, "mutual"])
def test_redis_with_tls_takes_its_own_authority_only(tls: bool | str) -> None:
    with RedisServer(tls=tls) as server:
        with server.client() as client:
            assert client.ping()
        stranger = str(certificates().stranger)
        with (
            server.client(ssl_ca_certs=stranger) as client,
            pytest.raises(redis.ConnectionError, match="certificate verify failed"),
        ):
            client.ping()
        with (
            redis.Redis(port=server.port) as client,
            pytest.raises(redis.ConnectionError),
        ):
            client.ping()


def test_redis_with_users_and_a_limit() -> None:
    acl = ("user default off", "user app on >secret ~app:* +get +set +config")
    with RedisServer(acl=acl, maxmemory="3mb") as server:
        with server.client() as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        with server.client(username="app", password="secret") as client:
            client.set("app:1", "x")
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.get("other")
            assert client.config_get("maxmemory") == {"maxmemory": str(3 << 20)}


def test_redis_replica_follows() -> None:
    with (
        RedisServer() as primary,
        RedisServer(replica_of=primary) as replica,
        primary.client() as writer,
        replica.client() as reader,
    ):
        writer.set("key", "value")
        wait_until(lambda: reader.get("key") == b"value", "the replica has the key")


def test_redis_is_killed_and_comes_back_empty(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.set("key", "value")
        port = own_redis.port
        own_redis.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        own_redis.start()
        assert own_redis.port == port
        assert client.get("key") is None


def test_redis_freezes_and_thaws(own_redis: RedisServer) -> None:
    with own_redis.client(socket_timeout=0.1) as client:
        client.set("key", "value")
        own_redis.freeze()
        with pytest.raises(redis.TimeoutError):
            client.get("key")
        own_redis.thaw()
    with own_redis.client() as client:
        assert client.get("key") == b"value"


def test_postgres_keeps_its_data_when_killed(own_postgres: PostgresServer) -> None:
    own_postgres.execute("CREATE TABLE t AS SELECT 1 AS one")
    own_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        own_postgres.connect()
    own_postgres.start()
    with own_postgres.connect() as connection:
        assert connection.execute("SELECT one FROM t").fetchone() == (1,)
    own_postgres.restart()
    with own_postgres.connect() as connection:
        assert connection.execute("SELECT one FROM t").fetchone() == (1,)


def test_postgres_waits_for_what_the_killed_one_left(own_postgres: PostgresServer) -> None:
    """Its processes have its memory until the system has done away with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    lines = (own_postgres.data / "postmaster.pid").read_text().splitlines()
    memory = libc.shmat(int(lines[6].split()[1]), None, 0o10000)  # SHM_RDONLY
    with ThreadPoolExecutor(1) as pool:
        own_postgres.kill()
        started = pool.submit(own_postgres.start)
        try:
            wait_until(lambda: "pre-existing" in own_postgres.log(), "it finds the memory in use")
        finally:
            libc.shmdt(ctypes.c_void_p(memory))
        started.result()
    own_postgres.connect().close()


def test_postgres_freezes_with_its_backends(own_postgres: PostgresServer) -> None:
    with own_postgres.connect() as connection:
        own_postgres.freeze()
        backend = Path(f"/proc/{connection.info.backend_pid}/stat")
        wait_until(lambda: backend.read_text().split()[2] == "T", "the backend is stopped")
        own_postgres.thaw()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_fresh_databases_are_apart(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as one, postgres_server.database() as two:
        postgres_server.execute("CREATE TABLE t ()", one)
        postgres_server.execute("CREATE TABLE t ()", two)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        postgres_server.connect(one)


def test_pgbouncer_gives_a_server_connection_a_transaction(
    pgbouncer: PgBouncer, postgres_server: PostgresServer
) -> None:
    with psycopg.connect(pgbouncer.url, autocommit=True) as connection:
        assert connection.execute("SELECT inet_server_port()").fetchone() == (postgres_server.port,)
        assert connection.info.port == pgbouncer.port


CRASH = """
import os, sys
sys.path[:0] = [{root!r}]
from tests.integration.servers import *
server = {name}().start()
server.freeze()
print(*server.family(), server.folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["RedisServer", "PostgresServer"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_server_outlives_its_process(name: str, end: signal.Signals) -> None:
    # Frozen servers, which obey nothing but SIGKILL.
    process.find({"RedisServer": "redis-server"}.get(name, "postgres"), name)
    with subprocess.Popen(
        [sys.executable, "-c", CRASH.format(root=str(ROOT), name=name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        *pids, folder = child.stdout.readline().split()
        assert pids
        assert not any(gone(int(pid)) for pid in pids)
        child.send_signal(end)
    wait_until(lambda: all(gone(int(pid)) for pid in pids), "the servers are gone")
    wait_until(lambda: not Path(folder).exists(), "their folder is gone")


def test_a_missing_server_skips_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.REQUIRED, "")
    with pytest.raises(pytest.skip.Exception, match="needs no-such-server"):
        process.find("no-such-server", "none")
    monkeypatch.setenv(process.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="no test may be skipped"):
        process.find("no-such-server", "none")


def test_starting_again_takes_another_port_when_the_first_was_taken() -> None:
    with RedisServer() as first:
        second = RedisServer()
        second.port = first.port
        with second, second.client() as client:
            assert second.port != first.port
            assert client.ping()


def test_the_environment_of_the_tests_is_not_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("LD_PRELOAD", "/none")
    assert not {"PGHOST", "LD_PRELOAD"} & process.clean_environment().keys()
    assert process.clean_environment()["PATH"] == os.environ["PATH"]
