"""A redis-server of the tests' own."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.integration.process import Server, find, free_port, run, temporary_folder
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import redis


class Certificates(NamedTuple):
    """Files of a certificate authority and of what it signed; `stranger` is another authority."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    stranger: Path


@functools.cache
def certificates() -> Certificates:
    """Made once a run, by openssl: a server at 127.0.0.1 and localhost, a client "millpond"."""
    openssl = find("openssl", "openssl")
    folder = temporary_folder("tls")
    new = [openssl, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "stranger"):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
        usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        run([*new, "-x509", "-days", "2", "-subj", f"/CN=test {name}", *usage, *files], cwd=folder)
    for name, subject in (("server", "localhost"), ("client", "millpond")):
        (folder / f"{name}.ext").write_text(
            "subjectAltName=IP:127.0.0.1,DNS:localhost\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        files = ["-keyout", f"{name}.key", "-out", f"{name}.csr"]
        run([*new, "-subj", f"/CN={subject}", *files], cwd=folder)
        sign = [openssl, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key"]
        files = ["-extfile", f"{name}.ext", "-out", f"{name}.crt"]
        run([*sign, "-CAcreateserial", "-days", "2", *files], cwd=folder)
    names = ("ca.crt", "server.crt", "server.key", "client.crt", "client.key", "stranger.crt")
    return Certificates(*(folder / name for name in names))


class RedisServer(Server):
    """`with RedisServer() as server: server.client().ping()`.

    Args:
        unix: listen on a unix socket (`socket_path`) and on no port.
        tls: speak TLS alone; certificates come from `certificates()`. "mutual" also asks the
            client for one.
        acl: lines of an ACL file: `"user default off", "user app on >secret ~* +@all"`.
        maxmemory: bytes, or redis's "10mb"; the policy is noeviction unless `options` say else.
        replica_of: the server it copies.
        options: anything else of redis.conf.

    It keeps nothing on disk unless `options` say `{"appendonly": "yes"}`: after `restart()` it
    is empty.
    """

    name = "redis"
    program = "redis-server"

    def __init__(
        self,
        *,
        port: int | None = None,
        unix: bool = False,
        tls: bool | str = False,
        acl: Sequence[str] = (),
        maxmemory: int | str | None = None,
        replica_of: RedisServer | None = None,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        self._binary = find(self.program, "redis-server")
        super().__init__()
        self._fixed_port = port is not None or unix
        self._retries = 5
        self.host = "127.0.0.1"
        self.port = 0 if unix else port or free_port()
        self.socket_path = self.folder / "s" if unix else None
        self.tls = tls
        self.certificates = certificates() if tls else None
        self.options: dict[str, str | int] = {
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "appendfsync": "no",
            "repl-diskless-sync-delay": 0,
            "repl-ping-replica-period": 1,
            "enable-debug-command": "yes",
            "databases": 4,
            "tcp-backlog": 128,
        }
        if self.socket_path:
            self.options["unixsocket"] = str(self.socket_path)
        if acl:
            (self.folder / "users.acl").write_text("".join(f"{line}\n" for line in acl))
            self.options["aclfile"] = str(self.folder / "users.acl")
        if maxmemory is not None:
            self.options["maxmemory"] = maxmemory
        if replica_of is not None:
            self.options["replicaof"] = f"{replica_of.host} {replica_of.port}"
        if self.certificates:
            self.options["tls-cert-file"] = str(self.certificates.server)
            self.options["tls-key-file"] = str(self.certificates.server_key)
            self.options["tls-ca-cert-file"] = str(self.certificates.ca)
            self.options["tls-auth-clients"] = "yes" if tls == "mutual" else "no"
            self.options["tls-replication"] = "yes"
        self.options |= options or {}

    @property
    def url(self) -> str:
        """For redis-py's from_url; of TLS it leaves the certificates to the caller."""
        if self.socket_path:
            return f"unix://{self.socket_path}"
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}"

    def client(self, **options: Any) -> redis.Redis:
        """A plain redis-py client, for the test itself, that fails at once rather than retry.

        Close it, or use it in `with`.
        """
        import redis

        options.setdefault("retry", None)
        if self.socket_path:
            options |= {"unix_socket_path": str(self.socket_path)}
        else:
            options |= {"host": self.host, "port": self.port}
        if self.certificates:
            options = {"ssl": True, "ssl_ca_certs": str(self.certificates.ca)} | options
            if self.tls == "mutual":
                options["ssl_certfile"] = str(self.certificates.client)
                options["ssl_keyfile"] = str(self.certificates.client_key)
        return redis.Redis(**options)

    def offset(self) -> int:
        """How many bytes of what is copied it has, as a primary or as a replica."""
        with self.client() as client:
            told: Any = client.info("replication")
            return int(told.get("slave_repl_offset", told["master_repl_offset"]))

    # ---- as a replica

    def linked(self) -> bool:
        """Whether it receives what its primary does."""
        with self.client() as client:
            return bool(client.info("replication").get("master_link_status") == "up")

    def cut_link(self, primary: RedisServer) -> None:
        """Let it receive nothing more from its primary. It stays where it is, and may be promoted:
        with what it had before the cut."""
        with self.client() as client:
            # The primary wants no password, so the replica's attempts to log in fail.
            client.config_set("masterauth", "refused")
        with primary.client() as client:
            client.execute_command("CLIENT KILL TYPE replica")
        wait_until(lambda: not self.linked(), "the link is cut")

    def mend_link(self) -> None:
        """Undo that."""
        with self.client() as client:
            client.config_set("masterauth", "")

    # ---- starting

    def command(self) -> list[str]:
        config = self.folder / "redis.conf"
        ports = {"port": 0, "tls-port": self.port} if self.tls else {"port": self.port}
        if not config.exists() or not self._fixed_port:
            lines = [f'{name} "{value}"' for name, value in (ports | self.options).items()]
            # These take several words, not one quoted string.
            lines += [line.replace('"', "") for line in lines if line.startswith("replicaof")]
            lines = [line for line in lines if not line.startswith('replicaof "')]
            config.write_text("\n".join(lines) + "\n")
        return [self._binary, str(config)]

    def before_retry(self) -> bool:
        """Another took the port between our look and the server's bind: take the next."""
        if self._fixed_port or self._retries == 0 or "in use" not in self.log():
            return False
        self._retries -= 1
        self.port = free_port()
        return True

    def ready(self) -> bool:
        # Its own log, because another server may answer at a port that it could not have.
        ready = "eady to accept connections" in self.log_since_launch()
        self._fixed_port |= ready
        return ready
