"""Fork within a load, shutdown with entries, daemon threads that wait, Ctrl-C, debug allocators."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def run(script: str, **environment: str) -> str:
    """What the script printed; fails when it crashes, hangs or says anything on stderr."""
    code = "import os, sys, threading, asyncio, signal\nimport millpond as mp\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code + textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


MODES = [{}, {"PYTHONDEVMODE": "1"}, {"PYTHONMALLOC": "debug"}]


def test_a_child_forked_within_a_load_loads_by_itself() -> None:
    assert (
        run("""
        @mp.with_cache
        def load(x):
            entered.set()
            if os.getpid() == parent:
                go_on.wait(60)
            return x
        parent, entered, go_on = os.getpid(), threading.Event(), threading.Event()
        got = []
        thread = threading.Thread(target=lambda: got.append(load(1)))
        thread.start()
        entered.wait(60)
        load.cache_set("kept", 2)
        child = os.fork()
        if child == 0:
            assert load(1) == 1 and load(2) == "kept" and load(3) == 3
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        go_on.set()
        thread.join(60)
        print(got, load(1), load.cache_info().loads)
        """)
        == "[1] 1 1\n"
    )


@pytest.mark.parametrize("mode", MODES)
def test_an_interpreter_ends_with_entries_of_all_kinds(mode: dict[str, str]) -> None:
    assert (
        run(
            """
        class Meddler:
            def __del__(self):
                try:
                    load(3); cache.get("a"); cache.clear()
                except (NameError, TypeError, AttributeError):
                    pass
        cache = mp.Cache(on_removal=lambda *left: None)
        @mp.with_cache
        def load(x):
            return Meddler()
        @mp.with_cache
        async def later(x):
            return Meddler()
        class Service:
            @mp.with_cache
            def called(self):
                return self
        service = Service()
        service.called()
        load(1); load(2)
        asyncio.run(asyncio.wait_for(later(1), 9))
        cache["a"] = Meddler()
        cache["cache"] = cache
        print("end")
        """,
            **mode,
        )
        == "end\n"
    )


def test_daemon_threads_that_wait_do_not_stop_the_end() -> None:
    assert (
        run("""
        entered = threading.Event()
        @mp.with_cache
        def load(x):
            entered.set()
            threading.Event().wait()
        for _ in range(4):
            threading.Thread(target=load, args=(1,), daemon=True).start()
        entered.wait(60)
        while load.cache_info().coalesced < 3:
            pass
        print("end")
        """)
        == "end\n"
    )


def test_ctrl_c_ends_a_wait_and_the_load_goes_on() -> None:
    # Often enough for the signal to come just before the wait, too, where it wakes nobody.
    assert (
        run("""
        def once(number):
            entered, go_on = threading.Event(), threading.Event()
            @mp.with_cache
            def load(x):
                entered.set()
                go_on.wait(60)
                return x
            thread = threading.Thread(target=load, args=(1,))
            thread.start()
            entered.wait(60)
            def interrupt():
                while load.cache_info().coalesced < 1:
                    pass
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=interrupt).start()
            try:
                load(1)
            except KeyboardInterrupt:
                interrupted.append(number)
                assert not go_on.is_set() and thread.is_alive()
            go_on.set()
            thread.join(60)
            assert (load(1), load.cache_info().loads) == (1, 1)
        interrupted = []
        for number in range(40):
            once(number)
        print(len(interrupted))
        """)
        == "40\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES[1:])
def test_the_hazards_are_met_under_pythons_own_checks_too(mode: dict[str, str]) -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [
            str(here / name)
            for name in (
                "test_hazards.py",
                "test_collection.py",
                "test_scopes.py",
                "test_methods.py",
            )
        ],
        env={**os.environ, **mode},
        cwd=here.parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
