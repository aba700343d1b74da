"""Fork in the middle of a load, and an interpreter that shuts down with loads in the air."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PREAMBLE = """
import asyncio, os, sys, threading
sys.path.insert(0, {root!r})
from tests.python.flights.flight_store import FlightStore, flights, until
"""


def run(script: str) -> str:
    """What the script printed; fails when it crashes, hangs or says anything on stderr."""
    code = PREAMBLE.format(root=str(ROOT)) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_child_drops_what_other_threads_lead_and_the_parent_does_not_notice() -> None:
    assert (
        run("""
        go_on = threading.Event()
        parent = os.getpid()
        store = FlightStore(lambda key: (os.getpid() != parent or go_on.wait(60)) and "loaded")
        found = []
        threads = [threading.Thread(target=lambda: found.append(store.get("k"))) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: store.waiters("k") == 2)
        flight = store.flights["k"]
        child = os.fork()
        if child == 0:
            assert not flights.in_air(flight)
            assert store.flights == {} and store.events["given up"] == 1
            assert store.get("k") == "loaded"
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert flights.in_air(flight) and store.waiters("k") == 2
        go_on.set()
        for thread in threads:
            thread.join(60)
        print(found, store.events["loads"])
        """)
        == "['loaded', 'loaded', 'loaded'] 1\n"
    )


def test_a_fork_inside_the_load_lets_both_processes_end_theirs() -> None:
    assert (
        run("""
        def load(key):
            child = os.fork()
            if child:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                return "parent"
            return "child"

        store = FlightStore(load)
        found = []
        follower = threading.Thread(target=lambda: found.append(store.get("k")))
        inside = load

        def load_when_followed(key):
            follower.start()
            until(lambda: store.waiters("k") == 1)
            return inside(key)

        store.function = load_when_followed
        value = store.get("k")
        if value == "child":
            assert store.values == {"k": "child"} and store.flights == {}
            os._exit(7)
        follower.join(60)
        print(value, found)
        """)
        == "parent ['parent']\n"
    )


def test_a_fork_in_a_coroutine_leaves_the_loads_of_its_own_loop() -> None:
    assert (
        run("""
        async def load(key):
            await asyncio.sleep(0.001)
            return key

        async def main():
            store = FlightStore(load)
            task = asyncio.create_task(store("k"))
            while not store.waiters("k"):
                await asyncio.sleep(0)
            child = os.fork()
            if child == 0:
                os._exit(7 if flights.in_air(store.flights["k"]) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            print(await task)

        asyncio.run(main())
        """)
        == "k\n"
    )


def test_daemon_threads_may_lead_and_wait_at_shutdown() -> None:
    assert (
        run("""
        never = threading.Event()
        store = FlightStore(lambda key: never.wait())
        threads = [threading.Thread(target=store.get, args=("k",), daemon=True) for _ in range(5)]
        for thread in threads:
            thread.start()
        until(lambda: store.waiters("k") == 4)
        print("leaving")
        """)
        == "leaving\n"
    )


def test_daemon_threads_that_time_out_while_the_interpreter_goes() -> None:
    # The waits end in the middle of finalisation, when nobody may take the GIL again.
    assert (
        run("""
        import atexit, time
        never = threading.Event()
        store = FlightStore(lambda key: never.wait())
        threading.Thread(target=store.get, args=("k",), daemon=True).start()
        until(lambda: "k" in store.flights)
        flight = store.flights["k"]

        def spin():
            while True:
                try:
                    flights.wait(flight, 0.0005)
                except TimeoutError:
                    pass

        for _ in range(8):
            threading.Thread(target=spin, daemon=True).start()
        until(lambda: store.waiters("k") > 4)
        print("leaving")
        """)
        == "leaving\n"
    )


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop()", "uvloop.new_event_loop()"])
def test_tasks_may_wait_at_shutdown_on_a_loop_that_nobody_closed(loop: str) -> None:
    script = """
        import uvloop, warnings
        warnings.simplefilter("ignore")

        async def load(key):
            await asyncio.get_running_loop().create_future()

        async def main():
            for _ in range(3):
                tasks.append(asyncio.create_task(store("k")))
            while store.waiters("k") < 3:
                await asyncio.sleep(0)

        tasks = []
        store = FlightStore(load)
        loop = LOOP
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(main())
        print("leaving")
        """
    assert run(script.replace("LOOP", loop)) == "leaving\n"


def test_importing_the_engine_does_not_import_asyncio() -> None:
    code = "import sys, millpond._engine; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
