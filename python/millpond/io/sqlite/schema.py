"""What is in the file, from the first version to this one.

A version is a step: the statements that make it from the one before. An older file is brought up
in one transaction, so it is never between two versions. A newer one is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import refused

if TYPE_CHECKING:
    import sqlite3

# "mpon", by which file(1) and we tell that a file is one of ours.
APPLICATION_ID = 0x6D70_6F6E
PAGE_BYTES = 4096
MICROS = 1_000_000
# How long a guard is kept: a load that took longer than this may fill in over an invalidation.
GUARD_LIFE = 3600 * MICROS
# How much later than the last note of it a use of a generation's name is noted again.
NAME_GRAIN = 3600 * MICROS

# records: an entry, a guard, or both. Without an entry `data` is NULL and `size` 0, and the guard
#   is kept until `expires`. One row for both makes a hit one look-up. It has a rowid: in a table
#   without one, searching steps over the data of the entries (measured: 3 times slower at 1 KB).
# counters: `expires` 0 is for ever.
# log: what was invalidated (kind 0 a generation name, 1 a key), oldest first. AUTOINCREMENT never
#   gives a number again, also when all rows are gone.
# meta: "stamp" is the highest stamp ever given.
# leases: who loads an entry, until when; and how that ended, if it brought no value, until when
#   those who wait may ask (1 none, 2 failed). `fence` of records was to be for that,
#   and is always 0.
_FIRST = (
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        guard INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        used INTEGER NOT NULL,
        size INTEGER NOT NULL,
        data BLOB
    )""",
    "CREATE INDEX records_expires ON records (expires)",
    "CREATE INDEX records_used ON records (used) WHERE size > 0",
    """CREATE TABLE generations (
        name TEXT PRIMARY KEY, stamp INTEGER NOT NULL, used INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX generations_used ON generations (used)",
    """CREATE TABLE counters (
        key TEXT PRIMARY KEY, value INTEGER NOT NULL, expires INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX counters_expires ON counters (expires) WHERE expires > 0",
    """CREATE TABLE log (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL
    )""",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('stamp', 0)",
)
_LEASES = (
    """CREATE TABLE leases (
        key TEXT PRIMARY KEY, fence INTEGER NOT NULL, expires INTEGER NOT NULL, outcome INTEGER
    ) WITHOUT ROWID""",
    "CREATE INDEX leases_expires ON leases (expires)",
)
STEPS: tuple[tuple[str, ...], ...] = (_FIRST, _LEASES)


def is_ready(connection: sqlite3.Connection) -> bool:
    """Whether the file has this version; False if it is empty or older.

    Raises:
        TierError: it is newer, or not ours.
        sqlite3.DatabaseError: it is damaged, or no database.
    """
    version = _number(connection, "user_version")
    application = _number(connection, "application_id")
    if application == 0 and version == 0 and not _has_tables(connection):
        return False
    if application != APPLICATION_ID:
        raise refused(
            "the file is a database of another program, and is left as it is; "
            "move it away, or give another data_dir"
        )
    if version > len(STEPS):
        raise refused(
            f"the file has schema version {version}, and this millpond knows up to {len(STEPS)}; "
            "it is left as it is: use the newer millpond, or give another data_dir"
        )
    return version == len(STEPS)


def prepare(connection: sqlite3.Connection) -> None:
    """Bring an empty or older file to this version.

    REQUIRES: `is_ready` said False, and nobody else prepares the file at the same time.
    """
    # Both are fixed by the first page that is written, which journal_mode does.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _number(connection, "user_version")
        for step in STEPS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(STEPS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
