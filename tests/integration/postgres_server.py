"""A PostgreSQL of the tests' own, and a pgbouncer in front of one."""

from __future__ import annotations

import contextlib
import functools
import itertools
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.process import Server, find, free_port, run, temporary_folder, unprivileged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import psycopg

_PACKAGE = "postgresql"


@functools.cache
def _template() -> Path:
    """A data folder made once a run, by the user that runs the servers; servers get copies."""
    user = unprivileged()
    folder = temporary_folder("pgdata")
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    run(
        [
            *(find("initdb", _PACKAGE), "-D", str(data), "-U", "postgres", "--auth=trust"),
            *("--no-sync", "--no-locale", "--encoding=UTF8", "--wal-segsize=1"),
        ],
        user=user,
    )
    return data


class PostgresServer(Server):
    """`with PostgresServer() as server: psycopg.connect(server.url)`.

    The superuser is "postgres", without a password. Nothing is synced to disk, which loses data
    only when the machine goes down, not when the server is killed.

    Args:
        options: settings of postgresql.conf.
        hba: lines of pg_hba.conf, before those that trust everybody on 127.0.0.1 and the socket.
    """

    name = "postgres"
    # "Immediate": it waits for no client. Recovery at the next start takes milliseconds here.
    stop_signal = signal.SIGQUIT

    def __init__(
        self,
        *,
        port: int | None = None,
        options: Mapping[str, str | int] | None = None,
        hba: tuple[str, ...] = (),
    ) -> None:
        self._binary = find("postgres", _PACKAGE)
        template = _template()
        self.user = unprivileged()
        super().__init__()
        self.data = self.folder / "data"
        self.host = "127.0.0.1"
        self._fixed_port = port is not None
        self._retries = 50
        self.port = port or free_port()
        self._numbers = itertools.count(1)
        self.options: dict[str, str | int] = {
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": 100,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "dynamic_shared_memory_type": "mmap",
            "log_line_prefix": "%m [%p] ",
        }
        self.options |= options or {}
        run(["cp", "-a", "--reflink=auto", str(template), str(self.data)], user=self.user)
        if hba:
            file = self.data / "pg_hba.conf"
            file.write_text("\n".join(hba) + "\n" + file.read_text())

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str, user: str = "postgres", password: str = "") -> str:
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@{self.host}:{self.port}/{database}"

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A plain psycopg connection in autocommit mode, for the test itself."""
        import psycopg

        return psycopg.connect(self.url_of(database), autocommit=True, **options)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser."""
        with self.connect(database) as connection:
            connection.execute(statement)  # type: ignore[call-overload, unused-ignore]

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The name of a fresh, empty database that is dropped at the end."""
        name = f"fresh_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            if self.alive:
                self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    # ---- starting

    def command(self) -> list[str]:
        settings = self.options | {"port": self.port}
        pairs = [("-c", f"{name}={value}") for name, value in settings.items()]
        return [self._binary, "-D", str(self.data), *itertools.chain.from_iterable(pairs)]

    def before_retry(self) -> bool:
        log = self.log()
        # The processes of one that was killed take a moment to notice it.
        orphans = "pre-existing shared memory block" in "".join(log.splitlines()[-3:])
        taken = "in use" in log and not self._fixed_port
        if self._retries == 0 or not (orphans or taken):
            return False
        self._retries -= 1
        if orphans:
            return True
        self.port = free_port()
        return True

    def ready(self) -> bool:
        """What `pg_ctl --wait` looks at: the server writes its state into its pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        ready = len(lines) > 7 and lines[7].strip() == "ready" and int(lines[0]) == self.pid
        self._fixed_port |= ready
        return ready

    def close(self) -> None:
        try:
            self.stop()
            self._remove_shared_memory()
        finally:
            super().close()

    def _remove_shared_memory(self) -> None:
        """A killed server leaves a few bytes of System V shared memory, for its next start."""
        with contextlib.suppress(OSError, IndexError):
            segment = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], check=False, capture_output=True)


class PgBouncer(Server):
    """A pgbouncer before a PostgresServer: by default a server connection per transaction."""

    name = "pgbouncer"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        server: PostgresServer,
        *,
        pool_mode: str = "transaction",
        pool_size: int = 8,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        self._binary = find("pgbouncer", "pgbouncer")
        self.user = unprivileged()
        super().__init__()
        self.host = "127.0.0.1"
        self.port = free_port()
        users = self.folder / "users.txt"
        users.write_text('"postgres" ""\n')
        settings: dict[str, str | int] = {
            "listen_addr": self.host,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(users),
            "pool_mode": pool_mode,
            "default_pool_size": pool_size,
            "max_client_conn": 500,
            "admin_users": "postgres",
            "server_login_retry": 1,
        }
        settings |= options or {}
        lines = [
            "[databases]",
            f"* = host={server.host} port={server.port}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        (self.folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@{self.host}:{self.port}/{database}"

    def command(self) -> list[str]:
        return [self._binary, str(self.folder / "pgbouncer.ini")]

    def ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url_of("pgbouncer"), autocommit=True, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
