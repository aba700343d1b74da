"""`millpond demo` as a person runs it: in a pipe, for machines, on a terminal, with Ctrl-C."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from .conftest import Running

DEMO = [sys.executable, "-m", "millpond", "demo"]


def demo(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo in pipes to its end."""
    return subprocess.run(
        [*DEMO, *options],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def as_json(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert isinstance(values, dict)
    return values


def provider_of(seed: int) -> int | None:
    """The process id of the provider that was started with this seed."""
    wanted = [b"millpond.cli.demo.provider", b"--seed", str(seed).encode()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if all(word in words for word in wanted):
            return int(process.name)
    return None


def wait_for_end(pid: int) -> None:
    """Wait until a process that may not be our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 20)[0], "the process is still there"
    finally:
        os.close(handle)


def test_json_is_one_report_whose_figures_agree_with_the_cache(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    done = demo("--json", "--seconds", "3", "--seed", "5", "--svg", str(picture))
    report = as_json(done)
    engine = report["engine"]
    answered = report["hits"] + report["misses"] + report["coalesced"]

    assert done.stderr == ""
    assert report["millpond"] == version("millpond")
    assert (report["setting"]["kind"], report["failed"]) == ("zipf", 0)
    assert report["calls"] == answered + report["unfinished"]
    assert min(report["dollars_saved"], report["dollars_spent"]) > 0
    assert engine["loads"] == report["misses"] + engine["load_errors"]
    assert engine["hits"] == report["hits"]
    assert engine["cost_spent"] == pytest.approx(report["dollars_spent"])
    assert engine["cost_saved"] == pytest.approx(report["dollars_saved"])
    assert picture.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.measures
def test_three_seconds_of_the_default_traffic_are_enough_to_avoid_three_calls_in_ten() -> None:
    report = as_json(demo("--json", "--seconds", "3", "--seed", "5"))

    assert report["elapsed_seconds"] < 5
    assert report["hit_rate"] >= 0.30
    assert report["with_cache"]["p50"] < report["without_cache"]["p50"]


def test_a_pipe_gets_lines_of_plain_text_and_the_report() -> None:
    done = demo("--seconds", "3")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert len(re.findall(r"^ +\d+\.\d s  \d+ calls: ", done.stdout, re.MULTILINE)) >= 2
    for part in ("hit rate", "calls avoided", "with the cache", "without it", "money", "traffic"):
        assert part in done.stdout


def test_a_trace_is_replayed_and_the_report_says_so(tmp_path: Path) -> None:
    trace = tmp_path / "calls.csv"
    trace.write_text("".join(f"{second},{100 + second},20\n" for second in range(60)))
    done = demo("--json", "--progress", "--seconds", "2", "--trace", str(trace))
    report = as_json(done)

    assert re.search(r"^ +\d+\.\d s  \d+ calls: ", done.stderr, re.MULTILINE)
    assert (report["calls"], report["setting"]["kind"]) == (60, "csv-trace")
    assert "all 60 calls" in report["setting"]["notes"][0]
    assert "Zipf" in report["setting"]["notes"][1]
    assert report["completion_tokens_paid"] == 20 * report["misses"]


def test_whole_prompts_repeat_in_a_trace_of_block_hashes(tmp_path: Path) -> None:
    trace = tmp_path / "blocks.jsonl"
    rows = [
        {"timestamp": 50 * n, "input_length": 64, "output_length": 4, "hash_ids": [n % 7, 1]}
        for n in range(40)
    ]
    trace.write_text("\n".join(json.dumps(row) for row in rows))
    report = as_json(demo("--json", "--seconds", "2", "--trace", str(trace)))

    assert (report["calls"], report["misses"], report["calls_avoided"]) == (40, 7, 33)


def test_a_bad_trace_is_one_line_that_says_where(tmp_path: Path) -> None:
    trace = tmp_path / "bad.csv"
    trace.write_text("0,1,2\n1,two,3\n")
    done = demo("--trace", str(trace))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "bad.csv, line 2: prompt tokens must be a whole number" in done.stderr


def test_a_real_run_needs_a_key_and_no_trace() -> None:
    assert "OPENAI_API_KEY" in demo("--real").stderr
    refused = demo("--real", "--trace", "x.csv", OPENAI_API_KEY="k")
    assert (refused.returncode, "leave --trace away" in refused.stderr) == (2, True)


def test_a_real_run_warns_of_its_cost_and_owns_up_to_unknown_prices(provider: Running) -> None:
    done = demo(
        *("--real", "--json", "--seconds", "2", "--rate", "20"),
        OPENAI_API_KEY="k",
        OPENAI_BASE_URL=provider.url,
    )
    report = as_json(done)

    assert "COSTS MONEY" in done.stderr
    assert "--budget cannot end this run" in done.stderr
    assert (report["dollars_spent"], report["dollars_saved"]) == (None, None)
    assert provider.url in report["setting"]["provider"]
    assert report["misses"] > 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--model", "gpt-none"], "--model='gpt-none': allowed is one that the local provider"),
        (["--svg", "/no/such/folder/demo.svg"], "allowed is a file in a folder that exists"),
        (["--seconds", "0.5"], "'0.5': allowed are 1 to 86400 seconds"),
        (["--seconds", "nan"], "'nan': allowed are"),
        (["--rate", "many"], "'many': allowed are"),
    ],
)
def test_an_option_out_of_range_is_refused_before_anything_starts(
    options: list[str], complaint: str
) -> None:
    done = demo(*options)

    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_a_reader_that_has_had_enough_ends_the_demo_quietly() -> None:
    with subprocess.Popen(
        [*DEMO, "--seconds", "6"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == ""


@pytest.mark.parametrize("module", ["openai", "rich", "genai_prices"])
def test_without_the_extra_the_error_names_it(module: str) -> None:
    code = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from millpond.cli import main\n"
        "sys.exit(main(['demo']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, module], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"needs the package {module.replace('_', '-')}" in done.stderr
    assert "millpond[demo]" in done.stderr


class Terminal:
    """The demo on a pseudo-terminal of 100 x 30 cells."""

    def __init__(self, *options: str) -> None:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            [*DEMO, *options],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, done: Callable[[str], object]) -> None:
        """Read what is shown until `done` says so."""
        while not done(self.seen):
            assert select.select([self._mine], [], [], 60)[0], "the terminal stays silent"
            self.seen += os.read(self._mine, 65536).decode(errors="replace")

    def read_to_end(self) -> int:
        """Read what is left and return the exit code."""
        while True:
            try:
                part = os.read(self._mine, 65536)
            except OSError:  # Linux reports the end of a terminal as an error.
                break
            if not part:
                break
            self.seen += part.decode(errors="replace")
        return self.process.wait(timeout=30)

    def press_ctrl_c(self) -> None:
        os.write(self._mine, b"\x03")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._mine)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*options: str) -> Terminal:
        opened.append(Terminal(*options))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def test_a_terminal_gets_a_live_screen_and_ctrl_c_the_report(
    terminal: Callable[..., Terminal],
) -> None:
    shown = terminal("--seed", "7001")
    shown.read_until(lambda seen: re.search(r"asked most(?s:.)*\d+ calls", seen))
    provider = provider_of(7001)
    assert provider is not None
    shown.press_ctrl_c()

    assert shown.read_to_end() == 0
    live, report = shown.seen.split("\x1b[?1049l")  # Leaves the alternate screen, once.
    assert "\x1b[?1049h" in live
    assert "ended early by Ctrl-C" in report
    assert "hit rate" in report
    assert "Traceback" not in shown.seen
    assert shown.seen.rindex("\x1b[?25h") > shown.seen.rindex("\x1b[?25l")  # The cursor is back.
    wait_for_end(provider)


def test_plain_lines_on_a_terminal_if_asked(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--plain", "--seconds", "1")

    assert shown.read_to_end() == 0
    assert "\x1b[?1049h" not in shown.seen
    assert "calls avoided" in shown.seen


def test_the_demo_ends_with_an_error_when_its_provider_dies(
    terminal: Callable[..., Terminal],
) -> None:
    shown = terminal("--seed", "7002")
    shown.read_until(lambda seen: "asked most" in seen)
    provider = provider_of(7002)
    assert provider is not None
    os.kill(provider, signal.SIGKILL)

    assert shown.read_to_end() == 2
    assert "the local provider ended in the middle of the run" in shown.seen
    assert "Traceback" not in shown.seen


def test_the_provider_ends_when_the_demo_is_killed(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--seed", "7003")
    shown.read_until(lambda seen: "asked most" in seen)
    provider = provider_of(7003)
    assert provider is not None
    shown.process.kill()

    wait_for_end(provider)
