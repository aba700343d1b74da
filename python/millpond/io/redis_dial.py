"""How a connection to a Redis begins: redis-py's Connection opens, secures and introduces it.

What is ours is where it goes (addresses come from the resolver's memory) and how long it takes (the
whole of it, TLS and AUTH included, under one deadline). Once it stands, `redis_pool` and
`redis_link` speak over its socket or transport: that takes half the time of redis-py's client.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

from millpond.errors import TierError, missing_extra
from millpond.io import forks
from millpond.io.deadline import Deadline
from millpond.io.redis_wire import Refusal, known, pack, refused
from millpond.io.resolve import resolver

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from millpond.io.redis_url import Address, RedisSettings

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


def require_redis() -> Any:
    """The package redis.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import redis
    except ImportError as error:
        raise missing_extra("the Redis tier", "redis", "redis") from error
    return redis


@final
class Dialer:
    """Opens connections with the rights that `settings` give. Thread-safe."""

    def __init__(self, settings: RedisSettings, tier: str) -> None:
        self.settings = settings
        self.tier = tier
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        forks.tell(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def dial(
        self, address: Address | None, deadline: Deadline, hold: Callable[[socket.socket], None]
    ) -> Any:
        """A redis-py Connection that stands; `address` is None for the unix socket.

        `hold` is given the socket before anything blocks in it, so that it can be shut down.
        """
        connection = _types()[0](**self._arguments(), redis_connect_func=self._introduce)
        connection.address = address
        connection.open_socket = lambda: self._open(address, deadline, hold)
        try:
            connection.connect()
        except BaseException as error:  # noqa: BLE001 (_fail raises it, or what it means)
            connection.disconnect()
            self._fail(error, address)
        return connection

    async def adial(self, address: Address | None, deadline: Deadline) -> Any:
        """A redis-py asyncio Connection that stands."""
        connection = _types()[1](**self._arguments(), redis_connect_func=self._aintroduce)
        connection.address = address
        connection.open_streams = lambda: self._aopen(address, deadline)
        try:
            async with asyncio.timeout(deadline.left()):
                await connection.connect()
        except BaseException as error:
            drop(connection)
            if isinstance(error, asyncio.CancelledError):
                raise
            self._fail(error, address)
        return connection

    def context(self) -> ssl.SSLContext:
        """What TLS needs to know, made once: reading the system's authorities takes a while."""
        with self._lock:
            if self._context is None:
                self._context = self._make_context()
            return self._context

    def _open(
        self, address: Address | None, deadline: Deadline, hold: Callable[[socket.socket], None]
    ) -> socket.socket:
        if address is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            hold(sock)
            return _connected(sock, self.settings.path, deadline)
        failure: OSError | None = None
        for family, where in resolver.find(*address, deadline):
            sock = socket.socket(family, socket.SOCK_STREAM)
            hold(sock)
            try:
                _connected(sock, where, deadline)
                _tune(sock)
                if self.settings.tls:
                    sock = _tls(sock, self.context(), address[0], hold)
                return sock
            except OSError as error:
                sock.close()
                failure = error
        resolver.doubt(*address)
        raise failure or OSError("the name has no address")

    async def _aopen(
        self, address: Address | None, deadline: Deadline
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        if address is None:
            return await asyncio.open_unix_connection(self.settings.path)
        failure: OSError | None = None
        tls: dict[str, Any] = {}
        if self.settings.tls:
            tls = {"ssl": self.context(), "server_hostname": address[0]}
        for family, where in await resolver.afind(*address, deadline):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, where)
                _tune(sock)
                return await asyncio.open_connection(sock=sock, **tls)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        resolver.doubt(*address)
        raise failure or OSError("the name has no address")

    def _arguments(self) -> dict[str, Any]:
        return {"protocol": 2, "socket_timeout": None, "socket_connect_timeout": None}

    def _introduction(self, credentials: tuple[str, ...]) -> tuple[bytes, int]:
        """What a connection begins with, in one piece, and how many replies that has."""
        settings = self.settings
        commands = [pack(b"AUTH", *(part.encode() for part in credentials))] if credentials else []
        if settings.client_name:
            commands.append(pack(b"CLIENT", b"SETNAME", settings.client_name.encode()))
        if settings.db:
            commands.append(pack(b"SELECT", b"%d" % settings.db))
        return b"".join(commands), len(commands)

    def _introduce(self, connection: Any) -> None:
        # redis-py would wait for each reply before it sends the next: a round trip each.
        connection._parser.on_connect(connection)
        provider = self._provider()
        payload, count = self._introduction(provider.get_credentials() if provider else ())
        if count:
            connection.send_packed_command([payload], check_health=False)
        for _ in range(count):
            connection.read_response()

    async def _aintroduce(self, connection: Any) -> None:
        connection._parser.on_connect(connection)
        provider = self._provider()
        credentials = await provider.get_credentials_async() if provider else ()
        payload, count = self._introduction(credentials)
        if count:
            await connection.send_packed_command([payload], check_health=False)
        for _ in range(count):
            await connection.read_response()

    def _provider(self) -> Any:
        settings = self.settings
        if settings.credentials or not (settings.username or settings.password):
            return settings.credentials
        from redis.credentials import UsernamePasswordCredentialProvider

        return UsernamePasswordCredentialProvider(settings.username, settings.password)

    def _make_context(self) -> ssl.SSLContext:
        import ssl

        settings = self.settings
        context = ssl.create_default_context()
        if settings.ca:
            from pathlib import Path

            folder = Path(settings.ca).is_dir()
            context = ssl.create_default_context(
                cafile=None if folder else settings.ca, capath=settings.ca if folder else None
            )
        context.check_hostname = settings.check_hostname and settings.verify
        context.verify_mode = ssl.CERT_REQUIRED if settings.verify else ssl.CERT_NONE
        if settings.cert:
            context.load_cert_chain(settings.cert, settings.key, settings.key_password)
        return context

    def _fail(self, error: BaseException, address: Address | None) -> NoReturn:
        judged = self._judged(error, address)
        if judged is error:
            raise error
        raise judged from error

    def _judged(self, error: BaseException, address: Address | None) -> BaseException:
        """What went wrong while connecting, in our words; foreign ones may quote a password."""
        import ssl

        redis = require_redis()
        # redis-py's parser raises a ValueError for some of what is no reply.
        expected = isinstance(error, (OSError, redis.RedisError, ValueError))
        if not expected or isinstance(error, TierError):
            return error
        where = self.settings.where if address is None else f"{address[0]}:{address[1]}"
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        kind, why = "unavailable", "cannot be reached"
        if isinstance(cause, ssl.SSLCertVerificationError):
            kind, why = "configuration", f"has a certificate that fails: {cause.verify_message}"
        elif isinstance(cause, ssl.SSLError):
            kind, why = "unavailable", f"does not speak our TLS ({cause.reason})"
        elif isinstance(error, (redis.InvalidResponse, ValueError)):
            kind, why = "damaged", "sends what is no reply of a Redis"
        elif isinstance(error, redis.ResponseError) or type(error) is not redis.ConnectionError:
            refusal = _refusal(redis, error)
            if refusal is not None:
                return refused(refusal, self.tier)
        return TierError(f"{self.tier} at {where} {why}", tier=self.tier, kind=kind)


def _refusal(redis: Any, error: BaseException) -> Refusal | None:
    """The server's reply that redis-py made an exception of, as far as it can be told."""
    if isinstance(error, redis.exceptions.NoPermissionError):
        return Refusal("NOPERM", "")
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return Refusal("LOADING", "")
    text = str(error)
    if isinstance(error, redis.AuthenticationError):
        return Refusal("ERR", text) if "without any password" in text else Refusal("WRONGPASS", "")
    if not isinstance(error, redis.ResponseError):
        return None
    code, _, rest = text.partition(" ")
    # redis-py drops "ERR", and keeps what is more than that.
    return Refusal(code, rest) if known(code) else Refusal("ERR", text)


def drop(connection: Any) -> None:
    """End an asyncio Connection at once, in whatever state, without waiting for its loop."""
    writer = getattr(connection, "_writer", None)
    connection._writer = connection._reader = None
    if writer is not None:
        with suppress(RuntimeError):  # its loop is closed, and with it the connection
            writer.transport.abort()


def _connected(sock: socket.socket, where: Any, deadline: Deadline) -> socket.socket:
    # The one step that a shutdown cannot be relied on to end; it is a single wait, so a timeout is
    # its deadline.
    try:
        sock.settimeout(max(deadline.left(), 0.001))
        sock.connect(where)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


def _tls(
    sock: socket.socket,
    context: ssl.SSLContext,
    host: str,
    hold: Callable[[socket.socket], None],
) -> socket.socket:
    # Wrapping takes the descriptor out of `sock`, so what is held must be the new one before it
    # waits for the server's part.
    secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    hold(secured)
    try:
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@functools.cache
def _types() -> tuple[Any, Any]:
    """redis-py's Connection and its asyncio twin, opened by us."""
    require_redis()
    from redis.asyncio.connection import Connection as AsyncConnection
    from redis.connection import Connection

    class Opened(Connection):
        address: Any = None
        open_socket: Any = None

        def _connect(self) -> Any:
            return self.open_socket()

    class AsyncOpened(AsyncConnection):
        address: Any = None
        open_streams: Any = None

        async def _connect(self) -> None:
            self._reader, self._writer = await self.open_streams()

    return Opened, AsyncOpened
