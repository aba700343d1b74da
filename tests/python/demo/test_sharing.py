"""Several processes that share a Redis: what is counted, how it is shown, and a small run of it."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from millpond.cli.demo.live import draw
from millpond.cli.demo.redis_process import local_redis
from millpond.cli.demo.report import Report, Setting, Tally
from millpond.cli.demo.runner import Lane
from millpond.cli.demo.settings import Settings
from millpond.cli.demo.sharing import Ledger, Once, Outage, Sharing, WorkerCount, summed
from millpond.cli.demo.text import progress_line, report_lines
from millpond.cli.demo.worker import Job
from millpond.cli.failure import CommandError
from tests.integration.servers import RedisServer

from .test_end_to_end import as_json, demo, wait_for_end

SETTING = Setting(60.0, "zipf", ("Made up.",), "a local process", "gpt-4.1-mini", 4.0, 40.0, 1)
WORKERS = tuple(WorkerCount(100 + n, 50, 20, 30, 0, "closed") for n in range(4))
OUTAGE = Outage(24.0, 33.0, 0.9, 350, 200, 0, 0.0123, (412, 412))
SHARING = Sharing("127.0.0.1:6379", True, WORKERS, Once(300, 8, 5, 0), OUTAGE)


def report(sharing: Sharing | None) -> Report:
    return Tally(SETTING).report(elapsed=40.0, sharing=sharing)


def told(sharing: Sharing) -> str:
    return " ".join(" ".join(report_lines(report(sharing))).split())


def screen(sharing: Sharing | None, *, width: int = 100, height: int = 34, **given: bool) -> str:
    console = Console(width=width, height=max(1, height), file=io.StringIO(), record=True)
    console.print(draw(report(sharing), width=width, height=height, **given))
    return console.export_text()


# ---- Why something was paid for again


def test_a_question_is_paid_for_once_or_it_is_said_why_not() -> None:
    ledger = Ledger()
    for number in range(10):
        ledger.paid(f"question {number}", number, number + 1.0)
    assert ledger.once(None) == Once(10, outage=0, together=0, other=0)
    ledger.paid("question 0", 0.5, 1.5)  # while the first was under way
    ledger.paid("question 1", 20.0, 21.0)  # in the outage
    ledger.paid("question 9", 30.0, 31.0)  # the first was paid in the outage
    ledger.paid("question 2", 31.0, 32.0)
    assert ledger.once((9.5, 25.0)) == Once(10, outage=2, together=1, other=1)
    assert ledger.once(None) == Once(10, outage=0, together=1, other=3)
    assert ledger.once((0.2, 0.4)).outage == 1, "together, but nobody could know"


def test_workers_may_tell_of_their_calls_in_any_order() -> None:
    ledger = Ledger()
    ledger.paid("why?", 5.0, 6.0)
    ledger.paid("why?", 4.5, 5.5)
    assert ledger.once(None) == Once(1, outage=0, together=1, other=0)
    ledger.paid("why?", 5.2, 6.2)
    assert ledger.once(None).together == 2


def test_statistics_of_several_caches_add_up() -> None:
    assert summed([{"hits": 1, "loads": 2}, {"hits": 3}]) == {"hits": 4, "loads": 2}
    assert summed([]) == {}


def test_a_job_is_read_as_it_was_written() -> None:
    settings = Settings(6.0, 1, Path("a.csv"), None, 2.0, "m", False, 0.5, True, False, True, None)
    job = Job(settings, Lane(2, 4), "http://127.0.0.1:1/v1", "redis://127.0.0.1:2/0", 3.0)
    assert Job.from_line(job.as_line()) == job


# ---- What is said of it


def test_the_report_says_what_was_shared_and_what_was_lost() -> None:
    text = told(SHARING)
    assert "200 from the memory of the worker itself, 80 from Redis" in text
    assert "300 questions, by all workers together; paid again: 8 because Redis was out" in text
    assert "killed after 24.0 s and started again after 33.0 s; all workers used it again" in text
    assert "350 calls, 200 of them hits, none failed; the slowest paid one took 12.3 ms" in text
    assert "lost nothing: Redis held 412 answers when it was killed, 412 when it was back" in text


def test_it_says_what_did_not_go_well_too() -> None:
    bad = replace(OUTAGE, started=None, back=None, failed=3, overhead=None, entries=(412, None))
    text = told(replace(SHARING, outage=bad, once=Once(9, 0, 0, 0)))
    assert "not started again before the end" in text
    assert "3 failed" in text
    assert "lost unknown" in text
    assert "each of 9 questions" in text
    lost = replace(OUTAGE, entries=(412, 400))
    assert "lost 12 answers: Redis held 412" in told(replace(SHARING, outage=lost))


def test_without_an_outage_nothing_is_said_of_one() -> None:
    text = told(replace(SHARING, outage=None))
    assert "outage" not in text
    assert "hits by tier" in text
    assert "hits by tier" not in " ".join(report_lines(report(None)))


def test_a_progress_line_says_how_redis_is() -> None:
    assert progress_line(report(SHARING)).endswith("Redis serves all 4 workers")
    assert progress_line(report(replace(SHARING, up=False))).endswith("Redis is killed")
    one_out = (replace(WORKERS[0], state="open"), *WORKERS[1:])
    assert "serves 3 of 4 workers" in progress_line(report(replace(SHARING, workers=one_out)))
    assert "Redis" not in progress_line(report(None))


@pytest.mark.parametrize("height", [18, 20, 24, 30, 34, 50])
@pytest.mark.parametrize("sharing", [None, SHARING, replace(SHARING, up=False)])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_screen_fits(height: int, sharing: Sharing | None, ascii_only: bool) -> None:
    lines = screen(sharing, height=height, ascii_only=ascii_only).splitlines()
    assert len(lines) <= height
    assert all(len(line) <= 100 for line in lines)
    assert ("Redis" in "".join(lines)) == (sharing is not None)


def test_the_last_picture_has_every_worker() -> None:
    assert "worker 4" in screen(SHARING, height=0)


# ---- A run of it


@pytest.fixture(scope="module")
def shared_run() -> dict[str, Any]:
    done = demo("--json", "--redis", "--workers", "2", "--seconds", "6", "--seed", "5")
    assert done.stderr == ""
    return as_json(done)


@pytest.fixture(autouse=True)
def a_server_is_installed() -> None:
    RedisServer().close()


@pytest.mark.slow
def test_redis_is_killed_on_the_way_and_no_call_fails(shared_run: dict[str, Any]) -> None:
    outage = shared_run["sharing"]["outage"]
    assert shared_run["failed"] == outage["failed"] == 0
    assert outage["calls"] > 0
    assert 0 < outage["killed"] < outage["started"] < 6
    before, after = outage["entries"]
    assert 0 < before <= after


@pytest.mark.slow
def test_the_workers_add_up(shared_run: dict[str, Any]) -> None:
    sharing, engine = shared_run["sharing"], shared_run["engine"]
    workers = sharing["workers"]
    assert len(workers) == 2
    assert sum(worker["calls"] for worker in workers) == sum(
        shared_run[name] for name in ("hits", "misses", "coalesced")
    )
    assert sum(worker["paid"] for worker in workers) == shared_run["misses"]
    assert sum(worker["redis_hits"] for worker in workers) > 0
    once = sharing["once"]
    again = once["outage"] + once["together"] + once["other"]
    assert once["questions"] + again == shared_run["misses"]
    assert engine["loads"] == shared_run["misses"] + engine["load_errors"]


@pytest.mark.slow
def test_a_redis_that_is_somebody_elses_is_not_killed() -> None:
    with RedisServer() as server:
        url = f"{server.url}/0"
        told = as_json(demo("--json", "--redis", url, "--workers", "1", "--seconds", "2"))
        assert server.alive
        again = as_json(demo("--json", "--redis", url, "--workers", "1", "--seconds", "2"))
    assert (told["failed"], told["sharing"]["outage"]) == (0, None)
    assert again["sharing"]["workers"][0]["redis_hits"] == 0, "a run begins with nothing"


@pytest.mark.slow
def test_a_pipe_gets_lines_that_say_how_redis_is() -> None:
    done = demo("--redis", "--workers", "1", "--seconds", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert done.stdout.startswith("millpond demo: starting 1 worker on the Redis at 127.0.0.1:")
    assert "Redis serves its worker" in done.stdout
    for part in ("hits by tier", "paid once", "outage", "lost"):
        assert f"  {part}  " in done.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--redis", "redis://:secret@127.0.0.1:1/0"], "127.0.0.1:1 cannot be used"),
        (["--redis", "http://127.0.0.1"], "redis://"),
        (["--workers", "0"], "'0': allowed are 1 to 64 workers"),
        (["--workers", "two"], "'two': allowed are"),
        (["--real", "--workers", "2"], "--real calls from one process"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(options: list[str], complaint: str) -> None:
    done = demo(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_server_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begin() -> None:
        async with local_redis():
            raise AssertionError("it was found")

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="none is installed; install it"):
        asyncio.run(begin())


@pytest.mark.parametrize(
    ("module", "extra"), [("redis", "millpond[redis]"), ("msgspec", "millpond[typed]")]
)
def test_without_an_extra_the_error_names_it(module: str, extra: str) -> None:
    code = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from millpond.cli import main\n"
        "sys.exit(main(['demo', '--redis']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, module], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert extra in done.stderr


def test_what_the_demo_starts_ends_with_it() -> None:
    keeper = [sys.executable, "-m", "millpond.cli.demo.keeper", sys.executable, "-c"]
    says = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with subprocess.Popen(
        [*keeper, says], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.stdin.close()
        assert process.wait(timeout=20) != 0
    wait_for_end(child)


def test_a_worker_whose_parent_has_gone_ends() -> None:
    worker = [sys.executable, "-m", "millpond.cli.demo.worker"]
    done = subprocess.run(worker, input="", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_report_of_several_processes_is_json() -> None:
    values = report(SHARING).as_json()
    assert json.loads(json.dumps(values))["sharing"]["outage"]["entries"] == [412, 412]
    assert "sharing" not in report(None).as_json()
