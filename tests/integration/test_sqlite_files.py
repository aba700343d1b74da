"""The SQLite tier and its files: damaged, foreign, older, newer, deleted, full, not permitted."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Engine
from millpond.errors import TierError
from millpond.io.deadline import Deadline
from millpond.io.sqlite import schema
from millpond.io.sqlite.files import Files
from millpond.tiers.base import Entry
from millpond.tiers.sqlite import FILE, SQLiteTier
from tests.integration.children import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make(folder: Path) -> Iterator[Callable[..., SQLiteTier]]:
    made: list[SQLiteTier] = []

    def make_one(**options: float) -> SQLiteTier:
        made.append(SQLiteTier(folder, timeout=5.0, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make_one
    for tier in made:
        tier.close()


def soon(seconds: float = 5) -> Deadline:
    return Deadline.after(seconds)


def entry(key: str, data: bytes = b"data", ttl: float = 600) -> Entry:
    return Entry(key, data, ttl)


def works(tier: SQLiteTier) -> None:
    tier.write([entry("probe", b"sound")], soon())
    assert tier.fetch(["probe"], [], soon()).data == [b"sound"]


def aside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".corrupt-" in path.name)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


# ---- who may read it


@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_its_files_are_the_owner_s_alone_whatever_the_umask(
    make: Callable[..., SQLiteTier], folder: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        works(make())
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes) == {FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}.stamp", f"{FILE}.lock"}
    assert set(modes.values()) == {0o600}


def refused(tier: SQLiteTier, match: str) -> None:
    for call in (
        lambda: tier.open(soon()),
        lambda: tier.fetch(["a"], [], soon()),
        lambda: tier.store([entry("a")], soon()),
        lambda: asyncio.run(tier.afetch(["a"], [], soon())),
        lambda: asyncio.run(tier.astore([entry("a")], soon())),
    ):
        with pytest.raises(TierError, match=match) as raised:
            call()
        assert raised.value.kind == "configuration"
        assert raised.value.tier == "sqlite"


def test_a_folder_that_others_may_write_to_is_refused(
    make: Callable[..., SQLiteTier], folder: Path
) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    refused(make(), "may be written to by other users")
    assert list(folder.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_refused(
    make: Callable[..., SQLiteTier], folder: Path, tmp_path: Path
) -> None:
    for name in (FILE, f"{FILE}.lock", f"{FILE}.stamp"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(0o700)
        (folder / name).symlink_to(tmp_path / "victim")
        refused(tier := make(), "symbolic link|Too many levels of symbolic links")
        tier.close()
        assert not (tmp_path / "victim").exists()


@needs_root
def test_an_unwritable_folder_is_a_matter_of_configuration(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent != tmp_path.anchor and "pytest" in parent.name:
            parent.chmod(0o755)
    (tmp_path / "mine").mkdir(0o555)
    os.chown(tmp_path / "mine", NOBODY, NOBODY)

    def as_nobody() -> list[str]:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        said = []
        for given in (tmp_path / "mine", tmp_path / "mine" / "deeper", tmp_path / "no"):
            with pytest.raises(TierError) as raised:
                SQLiteTier(given).store([entry("a")], soon())
            said.append(raised.value.kind)
        return said

    assert Child(as_nobody).result() == ["configuration"] * 3


@needs_root
def test_a_read_only_file_is_a_matter_of_configuration(
    make: Callable[..., SQLiteTier], folder: Path
) -> None:
    works(make())
    works(tier := make())
    tier.close()
    for path in folder.iterdir():
        path.chmod(0o444)
        os.chown(path, NOBODY, NOBODY)
    os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o500)

    def as_nobody() -> str:
        for parent in [folder, *folder.parents][1:4]:
            assert os.access(parent, os.R_OK)
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        with pytest.raises(TierError) as raised:
            SQLiteTier(folder).store([entry("a")], soon())
        return raised.value.kind

    assert Child(as_nobody).result() == "configuration"


# ---- what is in it


def test_an_older_file_is_migrated_with_what_it_holds(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    works(make())
    make().close()
    step = ("ALTER TABLE counters ADD COLUMN owner TEXT", "CREATE TABLE owners (name TEXT)")
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, step))
    tier = SQLiteTier(make().path.parent, timeout=5)
    assert tier.fetch(["probe"], [], soon()).data == [b"sound"]
    works(tier)
    tier.close()
    connection = sqlite3.connect(tier.path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.STEPS),)
    assert connection.execute("SELECT count(*) FROM owners").fetchone() == (0,)
    connection.close()


def test_a_migration_that_fails_changes_nothing(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    works(tier := make())
    tier.close()
    step = ("CREATE TABLE owners (name TEXT)", "CREATE TABLE owners (name TEXT)")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", (*schema.STEPS, step))
        with pytest.raises(TierError) as raised:
            make().open(soon())
        assert raised.value.kind == "unavailable"
    assert make().fetch(["probe"], [], soon()).data == [b"sound"]


def test_a_newer_file_is_left_as_it_is(make: Callable[..., SQLiteTier]) -> None:
    works(tier := make())
    tier.close()
    connection = sqlite3.connect(tier.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = tier.path.read_bytes()
    refused(make(), "schema version 99, and this millpond knows up to 2")
    assert tier.path.read_bytes() == before


@pytest.mark.parametrize("application", [0, 12345])
def test_another_program_s_database_is_left_as_it_is(
    make: Callable[..., SQLiteTier], folder: Path, application: int
) -> None:
    folder.mkdir(0o700)
    connection = sqlite3.connect(folder / FILE)
    connection.execute("CREATE TABLE accounts (name TEXT)")
    connection.execute(f"PRAGMA application_id = {application}")
    connection.close()
    before = (folder / FILE).read_bytes()
    refused(make(), "database of another program")
    assert (folder / FILE).read_bytes() == before
    assert aside(folder) == []


def test_what_is_no_database_is_moved_aside(
    make: Callable[..., SQLiteTier], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(0o700)
    (folder / FILE).write_bytes(b"a letter to grandmother" * 500)
    works(make())
    [name] = aside(folder)
    assert (folder / name).read_bytes() == b"a letter to grandmother" * 500
    [said] = warnings_of(caplog)
    assert "SQLITE_NOTADB" in said
    assert name in said


def test_an_empty_file_is_taken(make: Callable[..., SQLiteTier], folder: Path) -> None:
    folder.mkdir(0o700)
    (folder / FILE).touch(0o600)
    works(make())
    assert aside(folder) == []


def test_a_damaged_stamp_is_made_anew(make: Callable[..., SQLiteTier], folder: Path) -> None:
    works(tier := make())
    tier.close()
    (folder / f"{FILE}.stamp").write_bytes(b"garbage")
    works(tier := make())
    assert tier.stamp_word(soon()).value() > 0


def damage(path: Path, rng: random.Random) -> None:
    """Overwrite a few places of a file with random bytes."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for _ in range(rng.randint(1, 30)):
            file.seek(rng.randrange(max(1, size - 100)))
            file.write(rng.randbytes(rng.choice([1, 16, 100])))


@pytest.mark.parametrize("seed", range(25))
def test_random_damage_costs_entries_and_nothing_else(
    make: Callable[..., SQLiteTier], folder: Path, seed: int
) -> None:
    rng = random.Random(seed)
    tier = make(max_bytes=4 << 20)
    keys = [f"k{number}" for number in range(300)]
    tier.store([entry(key, key.encode() * 50) for key in keys], soon())
    tier.bump([f"n{number}" for number in range(50)], soon())
    tier.close()
    damage(tier.path, rng)
    tier = make(max_bytes=4 << 20)
    failed = 0
    for key in keys:
        for call in (
            lambda key: tier.fetch([key], ["n1", "n2"], soon()),
            lambda key: tier.write([entry(key)], soon()),
            lambda key: tier.delete([key], soon()),
            lambda key: tier.incr(key, 1, None, soon()),
            lambda key: tier.inspect(key, soon()),
            lambda key: tier.changes(0, soon()),
            lambda key: list(tier.scan("k1", soon())),
        ):
            try:
                call(key)
            except TierError:
                failed += 1
    assert failed < 20
    works(tier)
    assert len([name for name in aside(folder) if not name.endswith(("-wal", "-shm"))]) <= 2


def test_damage_under_eight_threads_is_moved_aside_once(
    make: Callable[..., SQLiteTier], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tier = make()
    keys = [f"k{number}" for number in range(2000)]
    tier.store([entry(key, key.encode() * 50) for key in keys], soon())
    tier.close()
    size = tier.path.stat().st_size
    with tier.path.open("r+b") as file:
        # The first page stays, so the damage is found by reading.
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    tiers = [make() for _ in range(4)]
    failed: list[Exception] = []

    def use(tier: SQLiteTier) -> None:
        for key in keys[:200]:
            try:
                tier.fetch([key], [], soon())
                tier.store([entry(key)], soon())
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=use, args=(tiers[number % 4],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(aside(folder)) == 1
    assert len(warnings_of(caplog)) == 1
    works(make())


def test_many_damaged_files_do_not_fill_the_disk(
    make: Callable[..., SQLiteTier], folder: Path
) -> None:
    for _ in range(6):
        works(tier := make())
        tier.close()
        tier.path.write_bytes(b"x" * 10_000)
    works(make())
    assert len(aside(folder)) == 2


# ---- where it is


@pytest.mark.parametrize("what", ["the file", "all files", "the folder"])
def test_a_deleted_file_is_noticed_by_writers_at_once_and_by_readers_soon(
    make: Callable[..., SQLiteTier], folder: Path, what: str
) -> None:
    reader, other = make(), make()
    other.write([entry("a", b"old")], soon())
    assert reader.fetch(["a"], [], soon()).data == [b"old"]
    watched = other.stamp_word(soon())
    seen = watched.value()
    if what == "the folder":
        shutil.rmtree(folder)
    else:
        for path in folder.iterdir():
            if path.name == FILE or what == "all files":
                path.unlink()
    other.write([entry("a", b"new")], soon())
    assert other.fetch(["a"], [], soon()).data == [b"new"]
    assert watched.value() != seen
    reader._checked = 0
    reader.fetch(["a"], [], soon())
    assert reader.fetch(["a"], [], soon()).data == [b"new"]
    reader.bump(["n"], soon())
    changes = other.changes(0, soon())
    assert changes is not None
    assert changes.names == ["n"]
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600


def test_a_replaced_file_is_noticed(make: Callable[..., SQLiteTier], folder: Path) -> None:
    works(tier := make())
    backup = SQLiteTier(folder.parent / "backup", timeout=5)
    backup.write([entry("a", b"from the backup")], soon())
    backup.close()
    (folder / f"{FILE}-wal").unlink()
    (folder / f"{FILE}-shm").unlink()
    backup.path.replace(folder / FILE)
    tier.store([entry("b")], soon())
    assert tier.fetch(["a", "b", "probe"], [], soon()).data == [b"from the backup", b"data", None]


# ---- room


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(disk)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_full_and_reads_go_on(small_disk: Path) -> None:
    tier = SQLiteTier(small_disk, timeout=5, max_bytes=64 << 20)
    kinds: list[str] = []
    stored: list[str] = []
    for number in range(300):
        try:
            tier.store([entry(f"k{number}", os.urandom(20_000))], soon())
            stored.append(f"k{number}")
        except TierError as error:
            kinds.append(error.kind)
    assert kinds
    assert set(kinds) == {"full"}
    assert len(stored) > 10
    assert tier.fetch(stored[:5], [], soon())
    tier.close()
    connection = sqlite3.connect(tier.path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_disk_that_is_full_from_the_start_is_full(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(4 << 20))
    tier = SQLiteTier(small_disk / "data", timeout=5)
    with pytest.raises(TierError) as raised:
        tier.store([entry("a")], soon())
    assert raised.value.kind == "full"
    ballast.unlink()
    assert tier.store([entry("a")], soon()) == [True]
    tier.close()


@pytest.mark.parametrize("first", ["load", "set", "cache"])
def test_an_event_loop_goes_on_while_the_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    opened = Files.open
    opening, go_on = threading.Event(), threading.Event()
    let_go: list[bool] = []

    def held_up(self: Files, deadline: Deadline) -> Any:
        opening.set()
        let_go.append(go_on.wait(10))
        return opened(self, deadline)

    monkeypatch.setattr(Files, "open", held_up)
    mill = Engine(data_dir=str(tmp_path / "data"))

    @mill.with_cache(namespace="test")
    async def f(x: int) -> int:
        return x

    async def main() -> None:
        match first:
            case "load":
                begun = [asyncio.create_task(f(x)) for x in range(3)]
            case "set":
                begun = [asyncio.create_task(f.cache_aset(1, x)) for x in range(3)]
            case _:
                begun = [asyncio.create_task(mill.cache("c").aset(x, x)) for x in range(3)]
        assert await asyncio.to_thread(opening.wait, 10)
        go_on.set()  # By the loop, which must not be what opens.
        await asyncio.gather(*begun)

    asyncio.run(main())
    assert let_go
    assert all(let_go)
    mill.close()
