"""The statements. Each is one round trip, and one transaction of its own.

Stamps are microseconds of the server's clock, and more than any before: than the row's own, and
than `floor`, the highest of a row that was purged. A guard counts for an hour; no load lasts that
long. Keys come sorted, so that statements of several rows lock them in one order.

What can be lost without harm is not waited for: `store` and `stamp` commit without waiting for the
disk. A crash of the server loses the last moments of these, which are then misses.
"""

# ruff: noqa: S608 (what is put into the texts is the schema's name, which is checked)

from __future__ import annotations

import re
from typing import Final, final

from millpond.errors import bad_option
from millpond.io.postgres import wire
from millpond.io.postgres.link import Statement

# Seconds that a guard counts.
GUARD_LIFE: Final = 3600
# Seconds that a statement may take, by which it commits later than it takes its stamp.
SETTLE: Final = 10
# Seconds that the end of a lease is kept for those who ask what became of it.
KEPT: Final = 2

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_LATER: Final = f"clock_timestamp() + interval '{GUARD_LIFE} seconds'"
# What a row takes besides its data, roughly.
_SIZE: Final = "length(data) + length(key) + 100"
_QUIET: Final = "quiet AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))"


def checked_schema(name: str) -> str:
    """The name of a schema, which becomes a part of statements and of a channel."""
    if re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", name) is None:
        allowed = "at most 40 lower case letters, digits and _, not beginning with a digit"
        raise bad_option("schema", name, allowed)
    return name


def _counting(column: str) -> str:
    """The guard if it still counts, else 0."""
    return (
        f"CASE WHEN {column} = 0 OR {column} < {_NOW} - {GUARD_LIFE * 10**6} THEN 0 "
        f"ELSE {column} END"
    )


@final
class Statements:
    """The statements for a schema of some name."""

    def __init__(self, schema: str) -> None:
        self.schema = checked_schema(schema)
        entries, generations = f"{schema}.entries", f"{schema}.generations"
        counters, about, leases = f"{schema}.counters", f"{schema}.about", f"{schema}.leases"
        stamp = f"greatest({_NOW}, (SELECT floor + 1 FROM {about}))"
        notes = "SELECT count(pg_notify($%d, payload)) FROM unnest($%d::text[]) AS payload"
        live = "data IS NOT NULL AND expires > clock_timestamp()"
        data = "CASE WHEN expires > clock_timestamp() THEN data END"
        stands = "leases.outcome IS NULL AND leases.expires > clock_timestamp()"
        kept = f"clock_timestamp() + interval '{KEPT} seconds'"
        # A line for `listen.read`, of each lease that ends and is awaited.
        told = """SELECT count(pg_notify($%d, $%d || outcome || ' ' || fence || ' ' || key))
                FROM ended WHERE awaited"""

        # One key, the call that must be fast: no arrays.
        self.one = _made("one", f"""
            SELECT {data}, {_counting("guard")} FROM {entries} WHERE key = $1
            """, wire.TEXT)  # fmt: skip
        self.fetch = _made("fetch", f"""
            SELECT key, {data}, {_counting("guard")}, true FROM {entries} WHERE key = ANY($1)
            UNION ALL
            SELECT name, NULL, stamp, false FROM {generations} WHERE name = ANY($2)
            """, wire.TEXT_ARRAY, wire.TEXT_ARRAY)  # fmt: skip
        # A guard that is not 0 needs its row; INSERT must not make one.
        guarded = f"""guard = 0 OR EXISTS (
                    SELECT FROM {entries} AS present
                    WHERE present.key = given.key AND present.guard = given.guard)"""
        replaced = f"""ON CONFLICT (key) DO UPDATE SET data = excluded.data,
                    size = excluded.size, expires = excluded.expires
                WHERE {_counting("old.guard")} = excluded.guard"""
        self.store = _made("store", f"""
            WITH {_QUIET}, stored AS (
                INSERT INTO {entries} AS old (key, data, size, expires, guard, fence)
                SELECT key, data, {_SIZE}, clock_timestamp() + make_interval(secs => ttl),
                    guard, 0
                FROM unnest($1::text[], $2::bytea[], $3::float8[], $4::bigint[])
                    AS given (key, data, ttl, guard), quiet
                WHERE {guarded}
                {replaced}
                RETURNING key)
            SELECT key FROM stored
            """, wire.TEXT_ARRAY, wire.BYTEA_ARRAY, wire.FLOAT8_ARRAY, wire.INT8_ARRAY)  # fmt: skip
        # The same under leases, which end with it.
        self.land = _made("land", f"""
            WITH {_QUIET}, given AS MATERIALIZED (
                SELECT * FROM unnest($1::text[], $2::bytea[], $3::float8[], $4::bigint[],
                    $5::bigint[]) AS given (key, data, ttl, guard, fence)),
            standing AS MATERIALIZED (
                SELECT leases.key, leases.fence FROM {leases} JOIN given USING (key, fence)
                WHERE {stands} ORDER BY leases.key FOR UPDATE OF leases),
            stored AS (
                INSERT INTO {entries} AS old (key, data, size, expires, guard, fence)
                SELECT key, data, {_SIZE}, clock_timestamp() + make_interval(secs => ttl),
                    guard, 0
                FROM given, quiet
                WHERE (fence = 0 OR key IN (SELECT key FROM standing)) AND ({guarded})
                {replaced}
                RETURNING key),
            ended AS (
                UPDATE {leases} SET expires = {kept},
                    outcome = CASE WHEN leases.key IN (SELECT key FROM stored) THEN 0 ELSE 1 END
                FROM standing
                WHERE leases.key = standing.key AND leases.fence = standing.fence
                RETURNING leases.key, leases.fence, outcome, awaited),
            told AS MATERIALIZED ({told % (6, 7)})
            SELECT key FROM stored, told
            """, wire.TEXT_ARRAY, wire.BYTEA_ARRAY, wire.FLOAT8_ARRAY, wire.INT8_ARRAY,
            wire.INT8_ARRAY, wire.TEXT, wire.TEXT)  # fmt: skip
        self.write = _made("write", f"""
            WITH written AS (
                INSERT INTO {entries} AS old (key, data, size, expires, guard, fence)
                SELECT key, data, {_SIZE}, clock_timestamp() + make_interval(secs => ttl),
                    {stamp}, 0
                FROM unnest($1::text[], $2::bytea[], $3::float8[]) AS given (key, data, ttl)
                ON CONFLICT (key) DO UPDATE SET data = excluded.data, size = excluded.size,
                    expires = excluded.expires, guard = greatest(excluded.guard, old.guard + 1))
            {notes % (4, 5)}
            """, wire.TEXT_ARRAY, wire.BYTEA_ARRAY, wire.FLOAT8_ARRAY, wire.TEXT,
            wire.TEXT_ARRAY)  # fmt: skip
        # Of what was there before: its key, and whether it was alive.
        self.delete = _made("delete", f"""
            WITH before AS MATERIALIZED (
                SELECT key, expires > clock_timestamp() AS live FROM {entries}
                WHERE key = ANY($1) AND data IS NOT NULL),
            gone AS (
                INSERT INTO {entries} AS old (key, data, size, expires, guard, fence)
                SELECT key, NULL, 0, {_LATER}, {stamp}, 0 FROM unnest($1) AS key
                ON CONFLICT (key) DO UPDATE SET data = NULL, size = 0, expires = excluded.expires,
                    guard = greatest(excluded.guard, old.guard + 1)),
            told AS MATERIALIZED ({notes % (2, 3)})
            SELECT key, live FROM told LEFT JOIN before ON true
            """, wire.TEXT_ARRAY, wire.TEXT, wire.TEXT_ARRAY)  # fmt: skip
        self.stamp = _made("stamp", f"""
            WITH {_QUIET}, old AS (SELECT name, stamp FROM {generations} WHERE name = ANY($1)),
            made AS (
                INSERT INTO {generations} AS old (name, stamp)
                SELECT name, {stamp} FROM unnest($1) AS name, quiet
                WHERE name NOT IN (SELECT name FROM old)
                ON CONFLICT (name) DO UPDATE SET stamp = old.stamp
                RETURNING name, stamp)
            SELECT name, stamp FROM old UNION ALL SELECT name, stamp FROM made
            """, wire.TEXT_ARRAY)  # fmt: skip
        self.bump = _made("bump", f"""
            WITH bumped AS (
                INSERT INTO {generations} AS old (name, stamp)
                SELECT name, {stamp} FROM unnest($1) AS name
                ON CONFLICT (name) DO UPDATE SET stamp = greatest(excluded.stamp, old.stamp + 1)
                RETURNING name, stamp),
            told AS MATERIALIZED ({notes % (2, 3)})
            SELECT name, stamp FROM bumped, told
            """, wire.TEXT_ARRAY, wire.TEXT, wire.TEXT_ARRAY)  # fmt: skip
        over = "old.expires <= clock_timestamp()"
        self.incr = _made("incr", f"""
            INSERT INTO {counters} AS old (key, value, expires)
            VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
            ON CONFLICT (key) DO UPDATE SET
                value = CASE WHEN {over} THEN excluded.value ELSE old.value + excluded.value END,
                expires = CASE WHEN {over} THEN excluded.expires ELSE old.expires END
            RETURNING value
            """, wire.TEXT, wire.INT8, wire.FLOAT8)  # fmt: skip
        self.inspect = _made("inspect", f"""
            SELECT data, extract(epoch FROM expires - clock_timestamp())::float8
            FROM {entries} WHERE key = $1 AND {live}
            """, wire.TEXT)  # fmt: skip
        self.scan = _made("scan", f"""
            SELECT key FROM {entries} WHERE key >= $1 AND key < $2 AND {live} ORDER BY key LIMIT 500
            """, wire.TEXT, wire.TEXT)  # fmt: skip
        self.changes = _made("changes", f"""
            (SELECT key, guard, true FROM {entries} WHERE guard > $1 AND guard > 0 LIMIT $2)
            UNION ALL
            (SELECT name, stamp, false FROM {generations} WHERE stamp > $1 LIMIT $2)
            UNION ALL SELECT '', {_NOW} - {SETTLE * 10**6}, NULL
            """, wire.INT8, wire.INT8)  # fmt: skip
        self.clock = _made("clock", f"SELECT {_NOW}")
        # What is judged of a key: an entry that its reader, $2, has not seen; the lease of another
        # than $3 that stands, or that brought nothing and is what the reader waits for, $4.
        landed = f"""{entries} WHERE key = $1 AND {live}
                AND (length($2) = 0 OR substring(data FOR length($2)) <> $2)"""
        left = "extract(epoch FROM expires - clock_timestamp())::float8"
        bars = """expires > clock_timestamp() AND fence <> $3
                AND (outcome IS NULL OR outcome > 0 AND fence = $4)"""
        # A state (0 landed, 2 taken, 3 and 4 ended), whose the lease is, and what it has left;
        # nothing if the lease may be had.
        self.peek = _made("peek", f"""
            SELECT 0::bigint, 0::bigint, 0::float8 FROM {landed}
            UNION ALL SELECT 2 + coalesce(outcome, 0), fence, {left}
            FROM {leases} WHERE key = $1 AND {bars}
            """, wire.TEXT, wire.BYTEA, wire.INT8, wire.INT8)  # fmt: skip
        # The same, and it is taken if it may be had: state 1.
        # A statement sees what was committed before it began. The row of a lease is seen as it is
        # by now; so a lease is taken only if that is still what was judged, together with the
        # entry. Else the answer is nothing at all, and it has to be asked again.
        self.acquire = _made("acquire", f"""
            WITH {_QUIET}, landed AS MATERIALIZED (SELECT FROM {landed}),
            before AS MATERIALIZED (
                SELECT fence, outcome, awaited, {left} AS seconds, {bars} AS bars
                FROM {leases} WHERE key = $1),
            taken AS (
                INSERT INTO {leases} AS old (key, fence, expires, outcome, awaited)
                SELECT $1, $3, clock_timestamp() + make_interval(secs => $5), NULL, false
                FROM quiet
                WHERE NOT EXISTS (SELECT FROM landed) AND NOT EXISTS (SELECT FROM before WHERE bars)
                ON CONFLICT (key) DO UPDATE SET fence = excluded.fence, expires = excluded.expires,
                    outcome = NULL, awaited = old.awaited AND old.fence = excluded.fence
                WHERE old.fence = excluded.fence AND old.outcome IS NULL
                    OR EXISTS (
                        SELECT FROM before WHERE before.fence = old.fence
                            AND before.outcome IS NOT DISTINCT FROM old.outcome)
                    AND (old.outcome IS NOT NULL OR old.expires <= clock_timestamp())
                RETURNING true),
            marked AS (
                UPDATE {leases} SET awaited = true FROM before, quiet
                WHERE $6 AND bars AND before.outcome IS NULL AND NOT before.awaited
                    AND NOT EXISTS (SELECT FROM landed)
                    AND leases.key = $1 AND leases.fence = before.fence AND leases.outcome IS NULL
                RETURNING true)
            SELECT 0::bigint, 0::bigint, 0::float8 FROM landed
            UNION ALL SELECT 1, $3, $5 FROM taken
            UNION ALL SELECT 2 + coalesce(outcome, 0), fence, seconds
            FROM before WHERE bars AND NOT EXISTS (SELECT FROM landed)
                AND (NOT $6 OR outcome IS NOT NULL OR awaited OR EXISTS (SELECT FROM marked))
            """, wire.TEXT, wire.BYTEA, wire.INT8, wire.INT8, wire.FLOAT8, wire.BOOL)  # fmt: skip
        mine = "unnest($1::text[], $2::bigint[]) AS given (key, fence)"
        self.renew = _made("renew", f"""
            WITH {_QUIET}
            UPDATE {leases} SET expires = clock_timestamp() + make_interval(secs => $3)
            FROM {mine}, quiet
            WHERE leases.key = given.key AND leases.fence = given.fence AND {stands}
            RETURNING leases.key, leases.fence
            """, wire.TEXT_ARRAY, wire.INT8_ARRAY, wire.FLOAT8)  # fmt: skip
        self.release = _made("release", f"""
            WITH {_QUIET}, ended AS (
                UPDATE {leases} SET outcome = $3::smallint, expires = {kept}
                FROM {mine}, quiet
                WHERE leases.key = given.key AND leases.fence = given.fence AND {stands}
                RETURNING leases.key, leases.fence, outcome, awaited),
            told AS MATERIALIZED ({told % (4, 5)})
            SELECT key, fence FROM ended, told
            """, wire.TEXT_ARRAY, wire.INT8_ARRAY, wire.INT8, wire.TEXT, wire.TEXT)  # fmt: skip
        self._upkeep()

    def _upkeep(self) -> None:
        """What the purge asks. Its advisory lock, $1, lets one process at a time do it, and is
        held for no longer than a statement: a pooler may be between."""
        entries, generations = f"{self.schema}.entries", f"{self.schema}.generations"
        counters, about = f"{self.schema}.counters", f"{self.schema}.about"
        held = "held AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($1) AS ok)"
        columns = f"entries.key, size, guard, {_counting('guard')} > 0 AS counts"
        # A guard that still counts outlives its entry. now(), which stands still, may use an index.
        remove = f"""
            kept AS (
                UPDATE {entries} SET data = NULL, size = 0,
                    expires = to_timestamp(doomed.guard / 1e6 + {GUARD_LIFE})
                FROM doomed WHERE entries.key = doomed.key AND counts),
            gone AS (
                DELETE FROM {entries} USING doomed WHERE entries.key = doomed.key AND NOT counts),
            raised AS (
                UPDATE {about} SET floor = (SELECT max(guard) FROM doomed)
                WHERE floor < (SELECT max(guard) FROM doomed WHERE NOT counts))
            SELECT (SELECT ok FROM held), count(*), coalesce(sum(size), 0)::bigint FROM doomed
            """
        # Whether so many seconds have passed since the last purge; then the next one is ours.
        self.claim = _made("claim", f"""
            UPDATE {about} SET purged = clock_timestamp()
            WHERE purged <= clock_timestamp() - make_interval(secs => $1) RETURNING true
            """, wire.FLOAT8)  # fmt: skip
        self.expired = _made("expired", f"""
            WITH {held}, doomed AS MATERIALIZED (
                SELECT {columns} FROM {entries}, held WHERE ok AND expires <= now()
                ORDER BY expires LIMIT $2 FOR UPDATE OF entries SKIP LOCKED),
            {remove}
            """, wire.INT8, wire.INT8)  # fmt: skip
        self.evict = _made("evict", f"""
            WITH {held}, doomed AS MATERIALIZED (
                SELECT {columns} FROM {entries}, held WHERE ok AND size > 0
                ORDER BY expires LIMIT $2 FOR UPDATE OF entries SKIP LOCKED),
            {remove}
            """, wire.INT8, wire.INT8)  # fmt: skip
        self.totals = _made("totals", f"""
            SELECT count(*), coalesce(sum(size), 0)::bigint,
                (SELECT count(*) FROM {generations})
            FROM {entries} WHERE size > 0
            """)  # fmt: skip
        self.old_counters = _made("old_counters", f"""
            WITH {held}, doomed AS MATERIALIZED (
                SELECT key FROM {counters}, held WHERE ok AND expires <= now()
                ORDER BY expires LIMIT $2 FOR UPDATE OF counters SKIP LOCKED),
            gone AS (DELETE FROM {counters} USING doomed WHERE counters.key = doomed.key)
            SELECT (SELECT ok FROM held), count(*), 0::bigint FROM doomed
            """, wire.INT8, wire.INT8)  # fmt: skip
        # None that a statement under way may have seen as it was before its end.
        self.old_leases = _made("old_leases", f"""
            WITH {held}, doomed AS MATERIALIZED (
                SELECT key FROM {self.schema}.leases, held
                WHERE ok AND expires <= now() - interval '{SETTLE} seconds'
                LIMIT $2 FOR UPDATE OF leases SKIP LOCKED),
            gone AS (
                DELETE FROM {self.schema}.leases AS leases USING doomed
                WHERE leases.key = doomed.key)
            SELECT (SELECT ok FROM held), count(*), 0::bigint FROM doomed
            """, wire.INT8, wire.INT8)  # fmt: skip
        self.old_generations = _made("old_generations", f"""
            WITH {held}, doomed AS MATERIALIZED (
                SELECT name, stamp FROM {generations}, held WHERE ok
                ORDER BY stamp LIMIT $2 FOR UPDATE OF generations SKIP LOCKED),
            gone AS (DELETE FROM {generations} USING doomed WHERE generations.name = doomed.name),
            raised AS (
                UPDATE {about} SET floor = (SELECT max(stamp) FROM doomed)
                WHERE floor < (SELECT max(stamp) FROM doomed))
            SELECT (SELECT ok FROM held), count(*), 0::bigint FROM doomed
            """, wire.INT8, wire.INT8)  # fmt: skip


def _made(name: str, sql: str, *types: int) -> Statement:
    return Statement(f"millpond_{name}".encode(), " ".join(sql.split()).encode(), types)
