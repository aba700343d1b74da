"""The parts of the PostgreSQL tier that need no server: formats, kinds of errors, the address."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psycopg
import pytest
from psycopg.adapt import PyFormat, Transformer
from psycopg.conninfo import conninfo_to_dict

from millpond.errors import LimitError, TierError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.io.postgres import errors, wire
from millpond.io.postgres.address import Address
from millpond.io.postgres.schema import COLUMNS, ddl, differences, lock_id


def theirs(value: Any) -> bytes:
    """What psycopg makes of a value in binary."""
    transformer = Transformer()
    dumper = transformer.get_dumper(value, PyFormat.BINARY)
    dumped = dumper.dump(value)
    assert dumped is not None
    return bytes(dumped)


@pytest.mark.parametrize("items", [["a"], ["", 'quote" \\ ,{}', "ü"], [str(n) for n in range(300)]])
def test_texts_are_what_psycopg_makes_of_them(items: list[str]) -> None:
    transformer = Transformer()
    loader = transformer.get_loader(wire.TEXT_ARRAY, psycopg.pq.Format.BINARY)
    assert loader.load(wire.texts(items)) == items


@pytest.mark.parametrize("items", [[b""], [b"\x00\xff", b"x" * 70_000]])
def test_blobs_are_what_psycopg_makes_of_them(items: list[bytes]) -> None:
    loader = Transformer().get_loader(wire.BYTEA_ARRAY, psycopg.pq.Format.BINARY)
    assert loader.load(wire.blobs(items)) == items


def test_numbers_are_what_psycopg_makes_of_them() -> None:
    loader = Transformer().get_loader(wire.INT8_ARRAY, psycopg.pq.Format.BINARY)
    assert loader.load(wire.bigints([0, -1, 1 << 62])) == [0, -1, 1 << 62]
    loader = Transformer().get_loader(wire.FLOAT8_ARRAY, psycopg.pq.Format.BINARY)
    assert loader.load(wire.floats([0.5, 1e300])) == [0.5, 1e300]
    assert wire.float8(0.1) == theirs(0.1)
    assert wire.to_int(wire.bigint(-(1 << 63))) == -(1 << 63)
    assert wire.to_float(wire.float8(0.1)) == 0.1
    assert (
        Transformer().get_loader(wire.TEXT_ARRAY, psycopg.pq.Format.BINARY).load(wire.texts([]))
        == []
    )


@pytest.mark.parametrize("value", [None, b"", b"\x00" * 7, b"\x00" * 9])
def test_a_number_of_another_size_is_damage(value: bytes | None) -> None:
    for read in (wire.to_int, wire.to_float):
        with pytest.raises(TierError) as caught:
            read(value)
        assert caught.value.kind == "damaged"


@pytest.mark.parametrize("value", [None, b"\xff"])
def test_a_text_that_is_none_is_damage(value: bytes | None) -> None:
    with pytest.raises(TierError) as caught:
        wire.to_text(value)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("57P03", "not_ready"),
        ("25006", "not_ready"),
        ("53100", "full"),
        ("57014", "timeout"),
        ("55P03", "timeout"),
        ("28P01", "configuration"),
        ("42501", "configuration"),
        ("3D000", "configuration"),
        ("42P01", "configuration"),
        ("57P01", "unavailable"),
        ("53300", "unavailable"),
        ("40P01", "unavailable"),
        ("08006", "unavailable"),
        ("XX001", "damaged"),
    ],
)
def test_each_sqlstate_has_its_kind(state: str, kind: str) -> None:
    error = errors.refused(errors.Refusal(state, "what it says"))
    assert isinstance(error, TierError)
    assert (error.kind, error.tier) == (kind, "postgresql")
    assert isinstance(error, TierTimeoutError) == (kind == "timeout")
    assert state in str(error)


def test_a_sum_that_does_not_fit_is_a_limit() -> None:
    assert isinstance(errors.refused(errors.Refusal("22003", "")), LimitError)


class Broken:
    """A connection that could not be made, and says why."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_error_message(self) -> str:
        return self.text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('FATAL:  password authentication failed for user "app"', "configuration"),
        ('FATAL:  database "app" does not exist', "configuration"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', "configuration"),
        ("fe_sendauth: no password supplied", "configuration"),
        ("SSL error: certificate verify failed", "configuration"),
        ("FATAL:  unsupported startup parameter: options", "configuration"),
        ("FATAL:  the database system is starting up", "not_ready"),
        ("FATAL:  the database system is in recovery mode", "not_ready"),
        ("session is read-only", "not_ready"),
        ("FATAL:  sorry, too many clients already", "unavailable"),
        ("Connection refused", "unavailable"),
        ("", "unavailable"),
    ],
)
def test_a_connection_that_was_refused_has_its_kind(text: str, kind: str) -> None:
    broken: Any = Broken(f"connection failed:\n{text}")
    error = errors.lost(broken, "connecting")
    assert error.kind == kind
    assert "\n" not in str(error)


# ---- the address


def resolved(conninfo: str, *, pgbouncer: bool = False, turns: int = 0) -> dict[str, Any]:
    address = Address(conninfo, pgbouncer=pgbouncer, patience=2.5)
    for _ in range(turns):
        address.next_host()
    return dict(conninfo_to_dict(address.resolved(Deadline.after(10)).decode()))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGPORT", raising=False)


def test_a_numeric_host_stays_and_a_session_is_set() -> None:
    found = resolved("postgresql://app@127.0.0.1:5433/name?options=-c%20work_mem%3D1MB")
    assert (found["host"], found["hostaddr"], found["port"]) == ("127.0.0.1",) * 2 + ("5433",)
    assert "-c statement_timeout=2500" in found["options"]
    # The last of several counts.
    assert found["options"].endswith("-c work_mem=1MB")


def test_names_are_resolved_and_kept_for_tls() -> None:
    found = resolved("host=localhost dbname=x")
    assert set(found["host"].split(",")) == {"localhost"}
    assert set(found["hostaddr"].split(",")) <= {"127.0.0.1", "::1"}
    assert set(found["port"].split(",")) == {"5432"}


def test_hosts_take_turns() -> None:
    conninfo = "postgresql://10.0.0.1:1,10.0.0.2:2,10.0.0.3:3/x"
    assert resolved(conninfo)["hostaddr"] == "10.0.0.1,10.0.0.2,10.0.0.3"
    assert resolved(conninfo, turns=1)["hostaddr"] == "10.0.0.2,10.0.0.3,10.0.0.1"
    assert resolved(conninfo, turns=4)["port"] == "2,3,1"


@pytest.mark.parametrize("conninfo", ["host=/run/postgresql dbname=x", "dbname=x"])
def test_a_unix_socket_has_no_address(conninfo: str) -> None:
    found = resolved(conninfo)
    assert "hostaddr" not in found
    assert found.get("host") == ("/run/postgresql" if "run" in conninfo else None)


def test_an_address_that_was_given_is_left_alone() -> None:
    found = resolved("host=db.invalid hostaddr=127.0.0.1")
    assert (found["host"], found["hostaddr"]) == ("db.invalid", "127.0.0.1")


def test_a_pooler_is_sent_no_settings() -> None:
    found = resolved("host=127.0.0.1", pgbouncer=True)
    assert "options" not in found


def test_a_name_that_there_is_not_is_unavailable() -> None:
    with pytest.raises(TierError) as caught:
        resolved("postgresql://app:secret@no-such-host.invalid/x")
    assert caught.value.kind in ("unavailable", "timeout")
    assert "secret" not in str(caught.value)


# ---- the schema


def test_the_statements_make_every_column_that_is_looked_for() -> None:
    statements = ddl("elsewhere")
    for table, columns in COLUMNS.items():
        made = statements.split(f"CREATE TABLE IF NOT EXISTS elsewhere.{table} (")[1].split(";")[0]
        assert all(f"    {column} " in made for column in columns)


def test_what_differs_is_told_and_what_is_more_is_not() -> None:
    right = {table: dict(columns) for table, columns in COLUMNS.items()}
    assert differences(right) == []
    right["entries"]["more"] = "text"
    right["more"] = {}
    assert differences(right) == []
    right["entries"]["guard"] = "integer"
    del right["counters"]
    del right["about"]["floor"]
    assert differences(right) == [
        "about has no column floor",
        "entries.guard is integer, not bigint",
        "there is no table counters",
    ]


def test_each_schema_has_two_locks_of_its_own() -> None:
    locks = {lock_id(name) + more for name in ("millpond", "other", "a", "b") for more in (0, 1)}
    assert len(locks) == 8
    assert all(0 < lock < 1 << 63 for lock in locks)


# ---- psycopg


def test_psycopg_is_imported_by_the_first_tier_and_named_where_it_is_missing() -> None:
    program = """
import sys
import millpond.tiers.postgres as postgres
assert not any(name.split(".")[0] == "psycopg" for name in sys.modules)
sys.modules["psycopg"] = None
try:
    postgres.PostgresTier("postgresql://localhost/x")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == (
        "the PostgreSQL tier needs the package psycopg: pip install 'millpond[postgresql]'"
    )
