"""What SQLite's errors mean for a tier."""

from __future__ import annotations

import errno
import sqlite3

from millpond.errors import TierError, TierTimeoutError

TIER = "sqlite"

# A primary result code is the low byte of an extended one.
_KINDS = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_TOOBIG: "full",
    sqlite3.SQLITE_READONLY: "configuration",
    sqlite3.SQLITE_PERM: "configuration",
    sqlite3.SQLITE_AUTH: "configuration",
    sqlite3.SQLITE_CANTOPEN: "configuration",
}
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.EISDIR}


class ClosedError(Exception):
    """The connection was closed under its user, by a fork, by `close` or to open another file."""


# What reading may end with, through the file's fault.
READ_ERRORS = (sqlite3.Error, ClosedError, UnicodeDecodeError)


def damaged(why: str) -> sqlite3.DatabaseError:
    """The error for rows that SQLite took for sound and that are not."""
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
    return error


def code_of(error: BaseException) -> int:
    """The extended result code, 0 where there is none."""
    return getattr(error, "sqlite_errorcode", 0) or 0


def is_busy(error: BaseException) -> bool:
    """Whether another connection holds what was needed; soon it will not."""
    return (code_of(error) & 0xFF) in _BUSY


def is_damage(error: BaseException) -> bool:
    """Whether the file cannot be what was written."""
    if isinstance(error, UnicodeDecodeError):
        return True
    if isinstance(error, sqlite3.OperationalError) and not code_of(error):
        # Python's own word for a text that is none; it has no code.
        return "decode" in str(error)
    if code_of(error) == sqlite3.SQLITE_ERROR:
        # Our statements are right, so what they name has gone.
        return "no such " in str(error) or "has no column" in str(error)
    return (code_of(error) & 0xFF) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_full(error: BaseException) -> bool:
    """Whether there was no room: on the disk, or below the file's own limit."""
    code = code_of(error)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def is_elsewhere(error: BaseException) -> bool:
    """Whether the connection's file may no longer be the one at the path, or was closed."""
    if isinstance(error, ClosedError):
        return True
    code = code_of(error)
    if isinstance(error, sqlite3.ProgrammingError):
        # "Cannot operate on a closed database", which has no code; the others are our mistakes.
        return code == 0 and "closed" in str(error)
    return code == sqlite3.SQLITE_READONLY_DBMOVED or code & 0xFF == sqlite3.SQLITE_CANTOPEN


def tier_error(error: BaseException) -> TierError:
    """The TierError for what SQLite or the system said; raise it from `error`.

    The message has the name of the code: SQLite's own text may quote what was stored.
    """
    if isinstance(error, TierError):
        return error
    if isinstance(error, OSError):
        return _system_error(error)
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    if is_damage(error):
        return TierError(f"the SQLite tier's file is damaged: {name}", tier=TIER, kind="damaged")
    if is_busy(error):
        return timeout_error("the database was locked by others")
    kind = "full" if is_full(error) else _KINDS.get(code_of(error) & 0xFF, "unavailable")
    return TierError(f"the SQLite tier failed: {name}", tier=TIER, kind=kind)


def timeout_error(why: str) -> TierTimeoutError:
    """It took too long."""
    return TierTimeoutError(f"the SQLite tier did not answer in time: {why}", tier=TIER)


def refused(why: str) -> TierError:
    """It will not work until somebody changes something."""
    return TierError(f"the SQLite tier cannot be used: {why}", tier=TIER, kind="configuration")


def _system_error(error: OSError) -> TierError:
    if error.errno in _FULL_DISK:
        kind = "full"
    elif error.errno in _REFUSED or isinstance(error, PermissionError | NotADirectoryError):
        kind = "configuration"
    else:
        kind = "unavailable"
    return TierError(f"the SQLite tier cannot use its files: {error}", tier=TIER, kind=kind)
