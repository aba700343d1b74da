"""Real servers as child processes that never outlive the tests.

A *warden*, a small process of its own, learns the pid of every server. When the test process ends,
however it ends, the pipe between them closes and the warden kills what is left. (The kernel's
PR_SET_PDEATHSIG would do it without a process, but it acts when the *thread* that started the
server ends, and servers that run as another user lose it.) The folders go with the servers.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

REQUIRED = "CI_REQUIRE_SERVERS"

# It reads "+pid", "-pid" and the paths of folders. Children are looked up before their parent is
# killed, and stopped processes die of SIGKILL too.
_WARDEN = """
import os, shutil, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.setsid()
pids, folders = [], []
for line in sys.stdin:
    if line[0] == "/":
        folders.append(line.rstrip("\\n"))
    elif line[0] == "+":
        pids.append(int(line[1:]))
    else:
        pids.remove(int(line[1:]))
def family(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [pid, *(one for child in file.read().split() for one in family(int(child)))]
    except OSError:
        return [pid]
for pid in [one for pid in pids for one in family(pid)]:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


@functools.cache
def _warden() -> int:
    """The end of the warden's pipe to write to."""
    reader, writer = os.pipe()
    subprocess.Popen(
        [sys.executable, "-ISu", "-c", _WARDEN],
        stdin=reader,
        stdout=subprocess.DEVNULL,
        env=clean_environment(),
    ).returncode = 0  # It is meant to be left running; nobody waits for it.
    os.close(reader)
    # A forked child must not keep the pipe open.
    os.register_at_fork(after_in_child=lambda: os.close(writer))
    return writer


def _tell_warden(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(_warden(), f"{line}\n".encode())


def temporary_folder(name: str) -> Path:
    """A folder that is removed when the tests have ended, however they end."""
    folder = Path(tempfile.mkdtemp(prefix=f"mp-{name}-"))
    _tell_warden(str(folder))
    return folder


def clean_environment() -> dict[str, str]:
    """The environment without what would change a server or client: PG*, REDIS_*, LD_PRELOAD."""
    drop = ("PG", "REDIS", "LD_", "ASAN_", "UBSAN_", "TSAN_", "LC_", "LANG", "MILLPOND")
    return {name: value for name, value in os.environ.items() if not name.startswith(drop)}


def find(binary: str, package: str) -> str:
    """The path of a server's program; without it the test is skipped, or fails where CI says so."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/sbin")]
    path = shutil.which(binary)
    for folder in folders:
        path = path or shutil.which(binary, path=str(folder))
    if path:
        return path
    reason = f"needs {binary}, which is not installed (Debian's package: {package})"
    if os.environ.get(REQUIRED, "") not in ("", "0"):
        pytest.fail(f"{reason}; {REQUIRED} is set, so no test may be skipped for it")
    pytest.skip(reason)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has.

    Below 32768, where the system takes no ports for outgoing connections: a server that is down
    for a moment finds its port free when it comes back.
    """
    pick = random.SystemRandom()
    while True:
        port = pick.randrange(12_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def unprivileged() -> str | None:
    """The user for servers that refuse to run as root; None if this process is not root's."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.fail("running as root, and there is neither a user postgres nor nobody")


def run(command: list[str], user: str | None = None, cwd: Path | None = None) -> str:
    """Run a short command to its end and return what it printed."""
    group = pwd.getpwnam(user).pw_gid if user else None
    done = subprocess.run(
        command,
        user=user,
        group=group,
        extra_groups=[] if user else None,
        env=clean_environment(),
        cwd=cwd or "/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


class Server:
    """A server process in a folder of its own; a context manager that starts and stops it.

    Subclasses say how it is started (`command`) and when it is ready (`ready`).
    """

    name = "server"
    user: str | None = None
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        # Not pytest's tmp_path: the path of a unix socket has at most 107 characters.
        self.folder = temporary_folder(self.name)
        if self.user:
            shutil.chown(self.folder, self.user, pwd.getpwnam(self.user).pw_gid)
        self.log_file = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self._log_start = 0

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    def before_retry(self) -> bool:
        """Whether a start that failed at once is worth another, with another port."""
        return False

    # ---- what the tests do to it

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it and return when it is ready."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """Start it without waiting."""
        assert not self.alive, f"{self.name} is running already"
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.command(),
                user=self.user,
                group=pwd.getpwnam(self.user).pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
                env=clean_environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for pytest alone.
            )
        _tell_warden(f"+{self._process.pid}")

    def wait_ready(self, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not self.ready():
            if not self.alive:
                if self.before_retry():
                    self.launch()
                    continue
                log = self.log()
                self.stop()
                raise RuntimeError(f"{self.name} ended at its start:\n{log}")
            if time.monotonic() > end:
                log = self.log()
                self.stop()
                raise RuntimeError(f"{self.name} was not ready after {seconds:g} s:\n{log}")
            time.sleep(0.003)

    def stop(self) -> None:
        """End it in the regular way; by force if it does not within seconds."""
        if self._process is None:
            return
        self.thaw()
        if self.alive:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._forget()

    def kill(self) -> None:
        """SIGKILL to it and all its children."""
        if self._process is None:
            return
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)
        self._frozen = []
        self._forget()

    def freeze(self) -> None:
        """SIGSTOP to it and all its children: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)  # It first, so that no child is born meanwhile.
        self._frozen = self.family()
        for pid in self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in reversed(self._frozen):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._frozen = []

    def restart(self) -> None:
        """Stop it if it runs, and start it again: same ports, same folder."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it and remove its folder."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, characters: int = 4000) -> str:
        """The end of what it wrote."""
        with contextlib.suppress(OSError):
            return self.log_file.read_text(errors="replace")[-characters:]
        return ""

    def log_since_launch(self) -> str:
        with contextlib.suppress(OSError), self.log_file.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")
        return ""

    def family(self) -> list[int]:
        """The pids of it and of its children."""
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.close()

    def _forget(self) -> None:
        if self._process is not None:
            _tell_warden(f"-{self._process.pid}")
            self._process = None
