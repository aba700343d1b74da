"""What the environment says about tiers: `MILLPOND_*`, and the names that people have already.

    MILLPOND_X  >  REDIS_URL  >  REDIS_HOST, REDIS_PORT, …  >  none
                   DATABASE_URL, if it is a PostgreSQL's

pydantic-settings reads and checks the variables; what is chosen is said by `Found.origins`. A
variable that is empty is as good as none.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millpond.errors import ConfigurationError, missing_extra

if TYPE_CHECKING:
    from millpond.io.redis_url import RedisSettings

_log = logging.getLogger("millpond")

# The options of Engine that MILLPOND_* may set, with the types that their text is read as.
_OPTIONS: Final[dict[str, Any]] = {
    "namespace": str,
    "max_bytes": str,
    "data_dir": str,
    "budget": str,
    "coherence_grace": str,
    "max_value_bytes": str,
    "compress": bool,
}
_SECRETS: Final = ("redis", "database", "encryption_keys", "signing_secret")
_NO: Final = frozenset(("false", "0", "no", "off"))
_YES: Final = frozenset(("true", "1", "yes", "on"))
# What Kubernetes gives to every container beside a service that is called "redis".
_SERVICE: Final = ("tcp://", "udp://", "sctp://")


class Found(NamedTuple):
    """The options for an Engine that the environment gives, and which variable gave each."""

    options: dict[str, Any]
    origins: dict[str, str]


def read() -> Found:
    """What the environment says now.

    Raises:
        ConfigurationError: a variable has a value outside what is allowed; the message names the
            variable and never shows a secret.
        MissingExtraError: pydantic-settings is not installed.
    """
    own, known = _read_all()
    options: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(option: str, value: Any, variable: str) -> None:
        if option not in options and value is not None:
            options[option] = value
            origins[option] = variable

    for option in _OPTIONS:
        take(option, getattr(own, option), f"MILLPOND_{option.upper()}")
    for option in _SECRETS:
        secret = getattr(own, option)
        if secret is not None:
            text = _MEANINGS.get(option, str)(secret.get_secret_value())
            take(option, text, f"MILLPOND_{option.upper()}")
    if known.enable_redis_caching is False:
        options.pop("redis", None)
        origins["redis"] = "ENABLE_REDIS_CACHING=false"
    elif "redis" not in options:
        _take_redis(known, take)
    if known.database_url is not None and "database" not in options:
        url = known.database_url.get_secret_value()
        if url.split(":", 1)[0].split("+")[0] in ("postgresql", "postgres"):
            scheme, rest = url.split(":", 1)
            take("database", f"{scheme.split('+')[0]}:{rest}", "DATABASE_URL")
        else:
            _log.info("DATABASE_URL names no PostgreSQL and is left alone")
    return Found(options, origins)


def _database(text: str) -> str | bool:
    lower = text.strip().lower()
    return False if lower in _NO else True if lower in _YES else text


def _keys(text: str) -> list[str]:
    """Keys with commas between them: base64 has none."""
    return [key.strip() for key in text.strip("[] ").replace('"', "").split(",")]


_MEANINGS: Final[dict[str, Any]] = {"database": _database, "encryption_keys": _keys}


def _take_redis(known: Any, take: Any) -> None:
    if known.redis_port is not None and known.redis_port.startswith(_SERVICE):
        known.redis_port = None
    if known.redis_url is not None:
        take("redis", known.redis_url.get_secret_value(), "REDIS_URL")
    elif known.redis_host is not None or known.redis_cluster_nodes is not None:
        take("redis", _redis_settings(known), "REDIS_HOST")
    elif known.redis_port is not None or known.redis_password is not None:
        raise ConfigurationError(
            "REDIS_PORT or REDIS_PASSWORD is set without REDIS_HOST: set REDIS_HOST or REDIS_URL"
        )
    if known.upstash_redis_rest_url is not None:
        _log.warning("UPSTASH_REDIS_REST_URL is set; this version has no tier for its REST API")


def _redis_settings(known: Any) -> RedisSettings:
    from millpond.io.redis_url import RedisSettings

    password, port = known.redis_password, known.redis_port or "6379"
    if not (port.isascii() and port.isdigit()):
        raise ConfigurationError("REDIS_PORT: give a whole number")
    given: dict[str, Any] = {
        "host": known.redis_host or "localhost",
        "port": int(port),
        "db": known.redis_db or 0,
        "username": known.redis_username,
        "password": None if password is None else password.get_secret_value(),
    }
    if known.redis_cluster_nodes:
        given["nodes"] = tuple(map(_address, known.redis_cluster_nodes.split(",")))
    elif known.redis_cluster_enabled:
        given["nodes"] = ((given["host"], given["port"]),)
    return RedisSettings(**given)


def _address(node: str) -> tuple[str, int]:
    host, _, port = node.strip().rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationError(
            f"REDIS_CLUSTER_NODES: {node.strip()!r} is no host:port; give host:port,host:port"
        )
    return host, int(port)


def _read_all() -> tuple[Any, Any]:
    own, known = _models()
    return _checked(own, "MILLPOND_"), _checked(known, "")


def _checked(model: Any, prefix: str) -> Any:
    import pydantic

    try:
        return model()
    except pydantic.ValidationError as error:
        # The input is left out: it may be a password.
        wrong = "; ".join(
            f"{prefix}{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise ConfigurationError(f"environment: {wrong}") from None


@functools.cache
def _models() -> tuple[Any, Any]:
    try:
        from pydantic import SecretStr, create_model
        from pydantic_settings import BaseSettings, SettingsConfigDict
    except ImportError as error:
        raise missing_extra("Engine.from_env", "pydantic-settings", "settings") from error

    class Own(BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix="MILLPOND_", extra="ignore", env_ignore_empty=True
        )

    class Known(BaseSettings):
        model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

        redis_url: SecretStr | None = None
        redis_host: str | None = None
        redis_port: str | None = None
        redis_db: int | None = None
        redis_username: str | None = None
        redis_password: SecretStr | None = None
        redis_cluster_enabled: bool | None = None
        redis_cluster_nodes: str | None = None
        upstash_redis_rest_url: SecretStr | None = None
        database_url: SecretStr | None = None
        enable_redis_caching: bool | None = None

    kinds = {**_OPTIONS, **dict.fromkeys(_SECRETS, SecretStr)}
    fields: dict[str, Any] = {name: (kind | None, None) for name, kind in kinds.items()}
    return create_model("OwnSettings", __base__=Own, **fields), Known
