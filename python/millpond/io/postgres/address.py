"""Where a database is: the connection string, with names resolved off the path and in turns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, final

from millpond.errors import ConfigurationError, bad_option
from millpond.io.postgres.errors import timed_out, unavailable
from millpond.io.postgres.link import libpq
from millpond.io.resolve import resolver

if TYPE_CHECKING:
    from millpond.io.deadline import Deadline
    from millpond.io.resolve import Found

_PORT: Final = "5432"
# The server gives up too, so that a call whose connection was cut does not go on there. Plans are
# made once: every look-up is by a key, and what was good for one is good for all.
_SESSION: Final = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "client_min_messages": "error",
    # Under another level of isolation, rows that two change at once are errors.
    "default_transaction_isolation": r"read\ committed",
}


@final
class Address:
    """A connection string of libpq, "postgresql://..." or "host=... dbname=...".

    Args:
        conninfo: the string. What it leaves out comes from the PG* environment variables.
        pgbouncer: whether there is a pooler between, which takes no settings for a session.
        patience: seconds after which the server cancels a statement.
    """

    def __init__(self, conninfo: str, *, pgbouncer: bool, patience: float) -> None:
        libpq()
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        if not conninfo:
            raise bad_option("database", conninfo, "a connection string of PostgreSQL")
        try:
            found: dict[str, Any] = dict(conninfo_to_dict(conninfo))
        except ProgrammingError:
            # Its message, and the cause, would show the password.
            raise ConfigurationError(
                "database= is no connection string of PostgreSQL; allowed is"
                " 'postgresql://user@host:5432/name' or 'host=... dbname=...'"
            ) from None
        self._options: dict[str, str] = {name: str(value) for name, value in found.items()}
        self._options.setdefault("application_name", "millpond")
        self._options["client_encoding"] = "UTF8"
        # It costs a round trip, and nobody who uses it leaves it out of the string.
        self._options.setdefault("gssencmode", "disable")
        # Ours is the deadline.
        self._options.pop("connect_timeout", None)
        if not pgbouncer:
            settings = {
                "statement_timeout": f"{max(1, round(patience * 1e3))}",
                "lock_timeout": f"{max(1, round(patience * 1e3))}",
                **_SESSION,
            }
            ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
            # The user's come last and prevail.
            self._options["options"] = f"{ours} {self._options.get('options', '')}".strip()
        self._turn = 0

    def next_host(self) -> None:
        """Begin with another host: one did not answer, and libpq would wait for it again."""
        self._turn += 1

    def resolved(self, deadline: Deadline) -> bytes:
        """The string for libpq, without a name that it would have to look up."""
        found: dict[str, Found] = {}
        for host, port in self._names():
            try:
                found[host] = resolver.find(host, int(port), deadline)
            except TimeoutError as error:
                raise timed_out("resolving its host name") from error
            except OSError as error:
                raise unavailable(f"PostgreSQL: {error}") from error
        return self._conninfo(found)

    async def aresolved(self, deadline: Deadline) -> bytes:
        """The same, in an event loop."""
        found: dict[str, Found] = {}
        for host, port in self._names():
            try:
                found[host] = await resolver.afind(host, int(port), deadline)
            except TimeoutError as error:
                raise timed_out("resolving its host name") from error
            except OSError as error:
                raise unavailable(f"PostgreSQL: {error}") from error
        return self._conninfo(found)

    def _hosts(self) -> list[tuple[str, str]]:
        hosts = (self._options.get("host") or os.environ.get("PGHOST") or "").split(",")
        ports = (self._options.get("port") or os.environ.get("PGPORT") or _PORT).split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        return list(zip(hosts, ports, strict=False))

    def _names(self) -> list[tuple[str, str]]:
        if "hostaddr" in self._options:
            return []
        return [(host, port) for host, port in self._hosts() if host and not _local(host)]

    def _conninfo(self, found: dict[str, Found]) -> bytes:
        from psycopg.conninfo import make_conninfo

        options: dict[str, Any] = dict(self._options)
        if "hostaddr" not in options:
            tries = [
                (host, address, port)
                for host, port in self._hosts()
                for address in ([at[0] for _, at in found[host]] if host in found else [""])
            ]
            turn = self._turn % len(tries)
            tries = tries[turn:] + tries[:turn]
            hosts, addresses, ports = (",".join(column) for column in zip(*tries, strict=True))
            if hosts:
                options |= {"host": hosts, "port": ports}
            if addresses.strip(","):
                options["hostaddr"] = addresses
        return make_conninfo(**options).encode()


def _local(host: str) -> bool:
    """Whether it is the folder of a unix socket."""
    return host.startswith(("/", "@"))
