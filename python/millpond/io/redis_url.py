"""`RedisSettings`: where a Redis is, who we are there, and how the way to it is secured."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final
from urllib.parse import parse_qsl, unquote, urlsplit

from millpond.errors import ConfigurationError, bad_option, bad_option_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Address: TypeAlias = tuple[str, int]

_SCHEMES: Final = (
    "redis://[user:password@]host[:port][/db], rediss:// (TLS), unix:///path/to/socket[?db=0], "
    "redis+sentinel://host[:port],…/service[/db] or redis+cluster://host[:port],…"
)
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


@final
@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RedisSettings:
    """Where a Redis or Valkey is. Passwords are in no `repr`.

    One of: `host` and `port`; `path` of a unix socket; `sentinels` with the name of a `service`;
    `nodes` of a Cluster, of which one must answer.

    Args:
        db: number of the database; a Cluster has only 0.
        username, password: of an ACL user, or the password alone.
        tls: speak TLS. `ca` (file or directory) replaces the system's authorities; `cert` and `key`
            are ours, for a server that asks for them, `key_password` opens the key. `verify=False`
            accepts any certificate: for a private network only. `check_hostname=False` still
            verifies the certificate, whatever name is in it.
        sentinel_username, sentinel_password: at the Sentinels, which have users of their own.
        client_name: what CLIENT LIST shows for our connections.
        credentials: a `redis.credentials.CredentialProvider`, for passwords that change (IAM);
            it takes the place of `username` and `password`.

    Example:
        >>> RedisSettings.from_url("rediss://app:secret@cache.internal/2")
        RedisSettings(host='cache.internal', port=6379, db=2, username='app', tls=True)
    """

    host: str = "localhost"
    port: int = _PORT
    path: str | None = None
    sentinels: tuple[Address, ...] = ()
    service: str | None = None
    nodes: tuple[Address, ...] = ()
    db: int = 0
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    key_password: str | None = dataclasses.field(default=None, repr=False)
    verify: bool = True
    check_hostname: bool = True
    sentinel_username: str | None = None
    sentinel_password: str | None = dataclasses.field(default=None, repr=False)
    client_name: str | None = None
    credentials: Any = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if sum((bool(self.path), bool(self.sentinels), bool(self.nodes))) > 1:
            raise ConfigurationError(
                "a Redis is reached by path=, by sentinels= or by nodes=, not by several of them"
            )
        if bool(self.sentinels) != bool(self.service):
            raise ConfigurationError(
                "sentinels= and service= go together: service is the name of the primary that "
                "they watch, such as 'mymaster'"
            )
        if self.nodes and self.db:
            raise bad_option("db", self.db, "0 in a Cluster")
        if self.db < 0:
            raise bad_option("db", self.db, "a whole number >= 0")
        for _, port in ((self.host, self.port), *self.sentinels, *self.nodes):
            if not 0 < port < 65536:
                raise bad_option("port", port, "1 to 65535")
        if self.credentials is not None and (self.username or self.password):
            raise ConfigurationError("credentials= takes the place of username= and password=")
        if self.key and not self.cert:
            raise ConfigurationError("key= is the key of a certificate: give cert= too")

    def __repr__(self) -> str:
        """What is not a default, and no secret."""
        shown = [
            f"{field.name}={value!r}"
            for field in dataclasses.fields(self)
            if field.repr and (value := getattr(self, field.name)) != field.default
        ]
        if self.host != "localhost" and not any(part.startswith("port=") for part in shown):
            shown.insert(1, f"port={self.port}")
        return f"RedisSettings({', '.join(shown)})"

    @property
    def where(self) -> str:
        """Where it is, for messages."""
        if self.path:
            return f"unix://{self.path}"
        if self.sentinels:
            return f"{self.service} of {len(self.sentinels)} Sentinels"
        if self.nodes:
            return f"a Cluster of {named(self.nodes[0])} and others"
        return named((self.host, self.port))

    @classmethod
    def from_url(cls, url: str, **given: Any) -> RedisSettings:
        """The settings that a URL stands for. Keywords win over what the URL says.

        Args:
            url: one of the forms below; `user`, `password`, `path` and `service` may be %-encoded.
                After `?`: db, client_name, ca, cert, key, verify, check_hostname.

        Raises:
            ConfigurationError: the URL is none of these forms. The message does not repeat it,
                because there may be a password in it.

        Example:
            >>> RedisSettings.from_url("unix:///run/redis.sock?db=1").path
            '/run/redis.sock'
            >>> RedisSettings.from_url("redis+sentinel://a,b:26380/mymaster").sentinels
            (('a', 26379), ('b', 26380))
        """
        # Users need not check their types.
        if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise bad_option_type("redis", type(url).__name__, f"a URL: {_SCHEMES}")
        try:
            parts = urlsplit(url)
            read = _FORMS[parts.scheme]
            settings = {**_user(parts.netloc), **_query(parts.query)}
            settings |= read(parts.netloc.rpartition("@")[2], unquote(parts.path))
        except (KeyError, ValueError, TypeError):
            raise _unreadable() from None
        return cls(**{**settings, **given})


def named(address: Address) -> str:
    """`host:port`, with an IPv6 address in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        f"the URL of Redis cannot be read (it is not repeated here, for the password that may be "
        f"in it): allowed is {_SCHEMES}; what is special in a password is %-encoded"
    )


def _user(netloc: str) -> dict[str, Any]:
    user, at, _ = netloc.rpartition("@")
    if not at:
        return {}
    name, _, password = user.partition(":")
    return {"username": unquote(name) or None, "password": unquote(password) or None}


def _query(query: str) -> dict[str, Any]:
    convert = _QUERY
    return {
        _NAMES.get(name, name): convert[_NAMES.get(name, name)](value)
        for name, value in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    }


def _flag(text: str) -> bool:
    return _FLAGS[text.lower()]


def _addresses(text: str, port: int) -> tuple[Address, ...]:
    return tuple(_address(one, port) for one in text.split(","))


def _address(text: str, default: int) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, ""
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ValueError("no host")
    return unquote(host), int(port) if port else default


def _db(path: str) -> dict[str, Any]:
    path = path.strip("/")
    return {"db": int(path)} if path else {}


def _tcp(netloc: str, path: str) -> dict[str, Any]:
    host, port = _address(netloc or "localhost", _PORT)
    return {"host": host, "port": port, **_db(path)}


def _tls(netloc: str, path: str) -> dict[str, Any]:
    return {**_tcp(netloc, path), "tls": True}


def _unix(netloc: str, path: str) -> dict[str, Any]:
    if netloc or not path:
        raise ValueError("no path")
    return {"path": path}


def _sentinel(netloc: str, path: str) -> dict[str, Any]:
    service, _, db = path.strip("/").partition("/")
    return {"sentinels": _addresses(netloc, _SENTINEL_PORT), "service": service, **_db(db)}


def _cluster(netloc: str, path: str) -> dict[str, Any]:
    return {"nodes": _addresses(netloc, _PORT), **_db(path)}


def _over_tls(read: Callable[[str, str], dict[str, Any]]) -> Callable[[str, str], dict[str, Any]]:
    return lambda netloc, path: {**read(netloc, path), "tls": True}


_FORMS: Final[Mapping[str, Callable[[str, str], dict[str, Any]]]] = {
    "redis": _tcp,
    "rediss": _tls,
    "valkey": _tcp,
    "valkeys": _tls,
    "unix": _unix,
    "redis+sentinel": _sentinel,
    "rediss+sentinel": _over_tls(_sentinel),
    "redis+cluster": _cluster,
    "rediss+cluster": _over_tls(_cluster),
}
_QUERY: Final[Mapping[str, Callable[[str], Any]]] = {
    "db": int,
    "client_name": str,
    "username": str,
    "password": str,
    "ca": str,
    "cert": str,
    "key": str,
    "verify": _flag,
    "check_hostname": _flag,
}
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1", "required"), True),
    **dict.fromkeys(("false", "no", "off", "0", "none"), False),
}
# What redis-py calls them in its URLs.
_NAMES: Final = {
    "ssl_ca_certs": "ca",
    "ssl_certfile": "cert",
    "ssl_keyfile": "key",
    "ssl_cert_reqs": "verify",
    "ssl_check_hostname": "check_hostname",
}
