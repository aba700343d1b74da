"""Which tiers an Engine has, from what it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from millpond.errors import ConfigurationError, OptionTypeError
from millpond.tiers.base import Tier

if TYPE_CHECKING:
    import os

# Seconds that any tier keeps an entry at most. A life is a function's to choose; this only keeps
# what nobody will ask for from staying for good.
_MOST_TTL: Final = 30 * 86400.0


def tiers_of(
    redis: Any, database: Any, data_dir: str | os.PathLike[str] | None, namespace: str
) -> list[Tier]:
    """The tiers behind the memory, the fastest first.

    Raises:
        ConfigurationError, OptionTypeError: an option is outside what is allowed.
        MissingExtraError: a tier needs a package that is not installed.
    """
    return [*_redis(redis, namespace), *_database(database, data_dir, namespace)]


def _redis(redis: Any, namespace: str) -> list[Tier]:
    if redis is None:
        return []
    from millpond.io.redis_url import RedisSettings

    if not isinstance(redis, str | RedisSettings):
        return [_own(redis, "redis")]
    from millpond.tiers.redis import RedisTier

    return [RedisTier(redis, namespace=namespace, max_ttl=_MOST_TTL)]


def _database(database: Any, data_dir: Any, namespace: str) -> list[Tier]:
    if database is False:
        return []
    if database is None or database is True:
        from millpond.tiers.sqlite import SQLiteTier

        return [SQLiteTier(data_dir, namespace=namespace, max_ttl=_MOST_TTL)]
    if not isinstance(database, str):
        return [_own(database, "database")]
    scheme = urlsplit(database).scheme
    if scheme in ("postgresql", "postgres"):
        from millpond.tiers.postgres import PostgresTier

        url, pooled = _without_pgbouncer(database)
        return [PostgresTier(url, namespace=namespace, max_ttl=_MOST_TTL, pgbouncer=pooled)]
    raise ConfigurationError(
        f"database=<{scheme or 'no scheme'}://…>: allowed are postgresql://…, a Tier of your own, "
        "or False for none; a SQLite file is in data_dir= where nothing is given"
    )


def _without_pgbouncer(url: str) -> tuple[str, bool]:
    """The URL without `pgbouncer=true`, which libpq does not know, and whether it was there.

    >>> _without_pgbouncer("postgresql://h/db?sslmode=require&pgbouncer=true")
    ('postgresql://h/db?sslmode=require', True)
    """
    head, mark, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("pgbouncer=")]
    said = [pair for pair in query.split("&") if pair.startswith("pgbouncer=")]
    if any(pair not in ("pgbouncer=true", "pgbouncer=false") for pair in said):
        raise ConfigurationError("database=…?pgbouncer=…: allowed are true and false")
    return head + (mark + "&".join(kept) if kept else ""), "pgbouncer=true" in said


def _own(given: Any, option: str) -> Tier:
    if not isinstance(given, Tier):
        raise OptionTypeError(f"{option}={type(given).__name__}: give a URL or a millpond Tier")
    return given
