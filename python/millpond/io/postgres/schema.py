"""The tables: made where there are none, compared where there are, never altered."""

# ruff: noqa: S608 (what is put into the texts is the schema's name, which is checked)

from __future__ import annotations

from typing import Final

from millpond.io.postgres.statements import checked_schema

VERSION: Final = 1

# Column by column what `pg_attribute` must say.
COLUMNS: Final = {
    "about": {"version": "integer", "floor": "bigint", "purged": "timestamp with time zone"},
    "entries": {
        "key": "text",
        "data": "bytea",
        "size": "integer",
        "expires": "timestamp with time zone",
        "guard": "bigint",
        "fence": "bigint",
    },
    "generations": {"name": "text", "stamp": "bigint"},
    "counters": {"key": "text", "value": "bigint", "expires": "timestamp with time zone"},
}
# A table that came later; where there is none, all works but leases.
LEASES: Final = {
    "leases": {
        "key": "text",
        "fence": "bigint",
        "expires": "timestamp with time zone",
        "outcome": "smallint",
        "awaited": "boolean",
    },
}


def ddl(schema: str = "millpond") -> str:
    """The statements that make the tables, for a database where the service may not."""
    checked_schema(schema)
    return f"""\
CREATE SCHEMA IF NOT EXISTS {schema};

-- A single row. floor: the highest stamp that was purged, none is given again; purged: when the
-- last purge began.
CREATE TABLE IF NOT EXISTS {schema}.about (
    version integer NOT NULL,
    floor bigint NOT NULL,
    purged timestamptz NOT NULL
);
INSERT INTO {schema}.about SELECT {VERSION}, 0, now() WHERE NOT EXISTS (SELECT FROM {schema}.about);

-- An entry, the guard of its key, or both; without an entry data is NULL. fence: not used.
CREATE TABLE IF NOT EXISTS {schema}.entries (
    key text COLLATE "C" PRIMARY KEY,
    data bytea,
    size integer NOT NULL,
    expires timestamptz NOT NULL,
    guard bigint NOT NULL,
    fence bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);
-- Entries come compressed, if that saves anything.
ALTER TABLE {schema}.entries ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS entries_expires ON {schema}.entries (expires) INCLUDE (size);
CREATE INDEX IF NOT EXISTS entries_guard ON {schema}.entries (guard) WHERE guard > 0;

CREATE TABLE IF NOT EXISTS {schema}.generations (
    name text COLLATE "C" PRIMARY KEY,
    stamp bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS generations_stamp ON {schema}.generations (stamp);

CREATE TABLE IF NOT EXISTS {schema}.counters (
    key text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL,
    expires timestamptz
);
CREATE INDEX IF NOT EXISTS counters_expires ON {schema}.counters (expires)
    WHERE expires IS NOT NULL;

{leases_ddl(schema)}"""


def leases_ddl(schema: str = "millpond") -> str:
    """The statement among them that a database without leases lacks."""
    checked_schema(schema)
    # Rows that change in place, which an index on `expires` would prevent.
    return f"""\
-- Who loads the value of a key. outcome: NULL while the lease stands; then 0 it was stored, 1 it
-- was not, 2 the load failed, until expires. awaited: somebody is to be told of the end.
CREATE TABLE IF NOT EXISTS {schema}.leases (
    key text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL,
    expires timestamptz NOT NULL,
    outcome smallint,
    awaited boolean NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
"""


def leases_grant(schema: str) -> str:
    """The rights that a user needs for them."""
    return f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.leases TO <the user>;\n"


def lock_id(schema: str) -> int:
    """The number of the advisory lock under which the tables are made; the next is the purge's."""
    number = 0
    for byte in schema.encode():
        number = (number * 31 + byte) % (1 << 30)
    return 0x6D70 << 32 | number << 1


def creation(schema: str) -> bytes:
    """Several workers may do it at once: the others wait, and find it done."""
    lock = f"SELECT pg_advisory_xact_lock({lock_id(schema)});"
    # Sent together they are one transaction, which leaves nothing behind if it fails.
    return f"{lock}\n{ddl(schema)}".encode()


def look(schema: str) -> bytes:
    """A statement for what is there: a row a column."""
    return f"""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE n.nspname = '{schema}' AND c.relkind IN ('r', 'p')
            AND a.attnum > 0 AND NOT a.attisdropped
        """.encode()


def look_version(schema: str) -> bytes:
    """A statement for the version, and whether the user may keep leases."""
    rights = " AND ".join(
        f"has_table_privilege(to_regclass('{schema}.leases')::oid, '{right}')"
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
    )
    return f"SELECT version::text, ({rights})::text FROM {schema}.about".encode()


def differences(
    found: dict[str, dict[str, str]], wanted: dict[str, dict[str, str]] = COLUMNS
) -> list[str]:
    """What is not as it must be, in words; further columns and tables are nobody's business."""
    said: list[str] = []
    for table, columns in wanted.items():
        if table not in found:
            said.append(f"there is no table {table}")
            continue
        for column, kind in columns.items():
            has = found[table].get(column)
            if has is None:
                said.append(f"{table} has no column {column}")
            elif has != kind:
                said.append(f"{table}.{column} is {has}, not {kind}")
    return said
