"""The faults of the matrix: for each tier, how a fault begins, goes on, and ends."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.integration.process import clean_environment
from tests.integration.redis_cluster import slot_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.matrix.sites import Site


class Fault(NamedTuple):
    """A fault.

    Attributes:
        name: as the table of effects calls it.
        begin: brings it about, and may draw how bad it is.
        end: makes it good.
        every: seconds after which `begin` is done again while the fault lasts; 0: never.
        passing: it ends by itself, which `begin` waits for: another primary was voted for.
        heard: whether changes by others are heard at once all the time.
        disk: how large the disk of the files must be, as mount has it; "": as it is.
    """

    name: str
    begin: Callable[[Site, random.Random], object]
    end: Callable[[Site], object]
    every: float = 0.0
    passing: bool = False
    heard: bool = False
    disk: str = ""


def _nothing(*_: Any) -> None:
    pass


# ---- On the way to a server


def _proxied(name: str, mode: Any, every: float = 0.0, **given: Any) -> Fault:
    def begin(site: Site, chance: random.Random) -> None:
        drawn = {key: draw(chance) if callable(draw) else draw for key, draw in given.items()}
        site.proxy.set(mode, **drawn)

    def end(site: Site) -> None:
        site.proxy.heal()
        if mode == "half_open":
            site.proxy.cut()  # A half-open connection stays what it is until somebody gives up.

    return Fault(name, begin, end, every)


def _some_bytes(chance: random.Random) -> int:
    return chance.choice((0, 1, 7, 50, 300, 2000))


def _either(chance: random.Random) -> bool:
    return chance.random() < 0.5


NETWORK = (
    _proxied("connections closed and refused", "kill", reset=_either),
    _proxied("network frozen", "freeze", way=lambda chance: chance.choice(("up", "down", "both"))),
    _proxied("latency 200 ms", "latency", seconds=0.2),
    _proxied("latency 5 s", "latency", seconds=5.0),
    _proxied("half-open sockets", "half_open"),
    _proxied("a byte every 30 ms", "drip"),
    _proxied("truncated replies", "truncate", every=0.1, after=_some_bytes),
    _proxied("reset in mid-reply", "reset", every=0.1, after=_some_bytes),
    _proxied("corrupt replies", "corrupt", every=0.5, after=_some_bytes),
)


# ---- Of a server

SERVER = (
    Fault("killed", lambda site, _: site.server.kill(), lambda site: site.server.start()),
    Fault("stopped", lambda site, _: site.server.freeze(), lambda site: site.server.thaw()),
)


# ---- Of Redis


def _command(*words: Any) -> Callable[..., None]:
    def send(site: Site, *_: Any) -> None:
        with site.redis() as client:
            client.execute_command(*words)

    return send


def _kill_clients(site: Site, _: random.Random) -> None:
    with site.redis() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _cut_tracking(site: Site, chance: random.Random) -> None:
    numbers = site.proxy.find(b"TRACKING")
    if not numbers:
        return
    if chance.random() < 0.5:
        site.proxy.cut(*numbers, reset=chance.random() < 0.5)
    else:
        site.proxy.set(chance.choice(("freeze", "half_open")), to=numbers)


def _heal_tracking(site: Site) -> None:
    site.proxy.heal()
    if numbers := site.proxy.find(b"TRACKING"):
        site.proxy.cut(*numbers)


REDIS = (
    Fault("CLIENT KILL", _kill_clients, _nothing, every=0.2),
    Fault("FLUSHALL", _command("FLUSHALL"), _nothing, every=0.3, heard=True),
    Fault(
        "maxmemory reached",
        _command("CONFIG", "SET", "maxmemory", "1"),
        _command("CONFIG", "SET", "maxmemory", "64mb"),
        heard=True,
    ),
    Fault("tracking connection cut", _cut_tracking, _heal_tracking, every=0.7),
)


# ---- Of a Cluster


def _any_key(site: Site, chance: random.Random) -> str:
    """A stamp or an entry of the traffic's, drawn with its primary."""
    drawn = site.cluster.nodes[:]
    chance.shuffle(drawn)
    for node in drawn:
        if node.alive:
            with node.client() as client:
                if found := client.randomkey():
                    return str(found.decode())
    return "none"


def _kill_primary(site: Site, chance: random.Random) -> None:
    site.down.append(site.cluster.kill_master(_any_key(site, chance)))


def _kill_ahead(site: Site, chance: random.Random) -> None:
    """A primary is killed that was told what its replica was not."""
    key = _any_key(site, chance)
    primary = site.cluster.master_of(key)
    [replica] = site.cluster.cut_replica_link(primary)
    wait_until(lambda: primary.offset() > replica.offset() + 1000, "there is something to lose")
    site.down.append(site.cluster.kill_master(key))


def _return(site: Site) -> None:
    """Who was taken out comes back, as a replica."""
    while site.down:
        site.down.pop().launch()


def _move_a_slot(site: Site, chance: random.Random) -> None:
    """It is on its way until the next is."""
    _settle(site)
    slot = slot_of(_any_key(site, chance))
    site.moving = (slot, site.cluster.begin_migration(slot))


def _settle(site: Site) -> None:
    if site.moving is not None:
        site.cluster.finish_migration(*site.moving)
        site.moving = None


def _kill_clients_of_all(site: Site, _: random.Random) -> None:
    for server in site.servers:
        with server.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


_CLIENTS_OF_ALL = Fault("CLIENT KILL", _kill_clients_of_all, _nothing, every=0.2)

CLUSTER = (
    Fault("primary killed", _kill_primary, _return, passing=True),
    Fault("link to a replica cut, then primary killed", _kill_ahead, _return, passing=True),
    Fault("slots moved", _move_a_slot, _settle, every=0.3),
    _CLIENTS_OF_ALL,
)


# ---- Of a Sentinel group


def _fail_over(site: Site, _: random.Random) -> None:
    site.sentinel.failover()


def _kill_watched(site: Site, _: random.Random) -> None:
    site.down.append(site.sentinel.primary)
    site.sentinel.failover(kill=True)


def _freeze_watched(site: Site, _: random.Random) -> None:
    primary = site.sentinel.primary
    site.down.append(primary)
    primary.freeze()
    site.sentinel.await_another(primary)


def _thaw(site: Site) -> None:
    """It thinks itself the primary until it is told."""
    while site.down:
        site.down.pop().thaw()


SENTINEL = (
    Fault("failover", _fail_over, _nothing, passing=True),
    Fault("primary killed", _kill_watched, _return, passing=True),
    Fault("primary stopped", _freeze_watched, _thaw, passing=True),
    _CLIENTS_OF_ALL,
)


# ---- Of a SQLite file

_LOCKER = """
import sqlite3, sys
link = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
link.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def _database(site: Site) -> Path:
    (file,) = Path(site.folder).rglob("*.sqlite3")
    return file


def _lock(site: Site, _: random.Random) -> None:
    locker = subprocess.Popen(
        [sys.executable, "-ISc", _LOCKER, str(_database(site))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(),
    )
    site.locker = locker
    site.later(lambda: _unlock(site))
    assert locker.stdout is not None
    assert locker.stdout.readline() == b"locked\n"


def _unlock(site: Site) -> None:
    locker, site.locker = site.locker, None
    if locker is not None:
        locker.communicate()


def _remove(site: Site, chance: random.Random) -> None:
    """The file, with or without what lies beside it."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        file = _database(site)
        for one in (file, *file.parent.glob(f"{file.name}-*")):
            if one == file or chance.random() < 0.5:
                one.unlink(missing_ok=True)


def _damage(site: Site, chance: random.Random) -> None:
    """Bytes in the middle of it are others."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        file = _database(site)
        size = file.stat().st_size
        with file.open("r+b") as target:
            target.seek(chance.randrange(0, max(size, 1)))
            target.write(os.urandom(4096))


def _ballast(site: Site) -> Path:
    return Path(site.folder) / "ballast"


def _fill(site: Site, _: random.Random) -> None:
    with contextlib.suppress(OSError), _ballast(site).open("ab", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass


def _clear(site: Site) -> None:
    _ballast(site).unlink()


SQLITE = (
    Fault("locked by another process", _lock, _unlock, heard=True),
    Fault("file deleted", _remove, _nothing, every=1.0),
    Fault("file damaged", _damage, _nothing),
    Fault("disk full", _fill, _clear, every=0.2, disk="24m"),
)

FAULTS: dict[str, tuple[Fault, ...]] = {
    "redis": (*NETWORK, *SERVER, *REDIS),
    "redis+sqlite": (*NETWORK, *SERVER, *REDIS),
    "cluster": CLUSTER,
    "sentinel": SENTINEL,
    "sqlite": SQLITE,
    "postgresql": (*NETWORK, *SERVER),
}


def fault(tiers: str, name: str) -> Fault:
    """One of them."""
    return next(one for one in FAULTS[tiers] if one.name == name)
