"""What PostgreSQL and libpq say, as the errors of a tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millpond.errors import LimitError, MillpondError, TierError, TierTimeoutError

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

TIER: Final = "postgresql"
READ_ONLY: Final = "25006"

# By SQLSTATE, else by its class, the first two characters. (Appendix A of PostgreSQL's manual.)
_KINDS: Final = {
    "57P03": "not_ready",  # starting up, shutting down, in recovery
    READ_ONLY: "not_ready",
    "53100": "full",
    "53200": "full",
    "57014": "timeout",  # statement_timeout
    "55P03": "timeout",  # lock_timeout
    "28": "configuration",  # log-in
    "3D": "configuration",  # no such database
    "3F": "configuration",  # no such schema
    "42": "configuration",  # no such table or column, permission denied
    "0A": "configuration",
    "XX": "damaged",
}
# What is said before a connection stands comes without a SQLSTATE. These are libpq's own words and
# those of a server in English; in other words it is "unavailable".
_WORDS: Final = (
    ("not_ready", ("the database system is", "server is in hot standby", "session is read-only")),
    ("unavailable", ("too many", "remaining connection slots", "query_wait_timeout")),
    (
        "configuration",
        (
            "authentication failed",
            "no password supplied",
            "no pg_hba.conf entry",
            "does not exist",
            "no such database",
            "no such user",
            "permission denied for database",
            "is not permitted to log in",
            "certificate",
            "does not support ssl",
            "unsupported startup parameter",
            "invalid value for parameter",
            "unrecognized configuration parameter",
            "no more connections allowed",
        ),
    ),
)
# The statements of a connection may be out of date once the schema was made anew.
STALE_PLAN: Final = frozenset({"0A000", "26000", "42P05"})
NO_TABLES: Final = frozenset({"3F000", "42P01", "42703"})
DENIED: Final = "42501"  # permission denied
OUT_OF_RANGE: Final = "22003"
# What libpq says itself has none.
NO_STATE: Final = "none"


class ReadOnlyError(TierError):
    """A standby, or a server in read-only mode, was to change something."""


class Refusal(NamedTuple):
    """A result that is an error: its SQLSTATE and its first line."""

    state: str
    text: str


def refusal(result: PGresult) -> Refusal:
    """What a result of status FATAL_ERROR says; never its DETAIL, which may hold a key."""
    from psycopg.pq import DiagnosticField

    state = result.error_field(DiagnosticField.SQLSTATE) or NO_STATE.encode()
    text = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b""
    return Refusal(state.decode(), text.decode(errors="replace"))


def refused(why: Refusal) -> MillpondError:
    """The error for a statement that the server refused."""
    if why.state == OUT_OF_RANGE:
        return LimitError("the sum does not fit in 64 bits; the number is unchanged")
    kind = _KINDS.get(why.state) or _KINDS.get(why.state[:2], "unavailable")
    message = f"PostgreSQL says {why.state}: {why.text}"
    if kind == "timeout":
        return TierTimeoutError(message, tier=TIER)
    made = ReadOnlyError if why.state == READ_ONLY else TierError
    return made(message, tier=TIER, kind=kind)


def lost(pgconn: PGconn, doing: str) -> TierError:
    """The error for a connection that could not be made, or is gone."""
    text = pgconn.get_error_message().strip() or "the connection is closed"
    lower = text.lower()
    kinds = (kind for kind, words in _WORDS if any(word in lower for word in words))
    kind = next(kinds, "unavailable")
    return TierError(f"PostgreSQL, {doing}: {' '.join(text.split())}", tier=TIER, kind=kind)


def timed_out(doing: str) -> TierTimeoutError:
    return TierTimeoutError(f"PostgreSQL did not answer in time ({doing})", tier=TIER)


def damaged(what: str) -> TierError:
    return TierError(f"PostgreSQL's reply cannot be read: {what}", tier=TIER, kind="damaged")


def misconfigured(message: str) -> TierError:
    return TierError(message, tier=TIER, kind="configuration")


def unavailable(message: str) -> TierError:
    return TierError(message, tier=TIER, kind="unavailable")


def foreign(error: Any) -> TierError:
    """What psycopg itself raises of a connection that breaks under it."""
    text = " ".join(str(error).split())
    return TierError(f"PostgreSQL: {text}", tier=TIER, kind="unavailable")
