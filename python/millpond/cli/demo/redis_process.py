"""A redis-server of the demo's own, which may be killed without asking anybody."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from random import SystemRandom

from millpond.cli.failure import CommandError

PROGRAM = "redis-server"
START_SECONDS = 20.0
STOP_SECONDS = 5.0
PORTS = (12_000, 32_000)  # Below those that the system gives to outgoing connections.
ATTEMPTS = 5


class LocalRedis:
    """A redis-server on a free port of loopback.

    It writes each change to a file before it answers, so that a kill loses nothing.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._port = 0
        self._keeper: Process | None = None

    @property
    def url(self) -> str:
        """Where it is, also while it is killed."""
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start it, again on the same port, and return when it answers.

        Raises:
            CommandError: It does not start.
        """
        if self._port:
            await self._start()
            return
        for attempt in range(1, ATTEMPTS + 1):
            self._port = _free_port()
            try:
                await self._start()
            except CommandError:
                if attempt == ATTEMPTS or "in use" not in self._log():
                    raise
            else:
                return

    async def kill(self) -> None:
        """SIGKILL, as an outage would: it gets no time to tidy up."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if keeper.stdin is not None:
            keeper.stdin.close()
        async with asyncio.timeout(STOP_SECONDS):
            await keeper.wait()

    async def _start(self) -> None:
        with (self._folder / "log").open("wb") as log:
            self._keeper = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "millpond.cli.demo.keeper"),
                *(self._binary, "--port", str(self._port), "--bind", "127.0.0.1"),
                *("--dir", str(self._folder), "--save", ""),
                *("--appendonly", "yes", "--appendfsync", "no"),
                stdin=PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._answers():
                    if self._keeper.returncode is not None:
                        raise CommandError(f"{PROGRAM} ended at its start: {self._log()}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise CommandError(f"{PROGRAM} did not answer within {START_SECONDS:g} s") from None

    async def _answers(self) -> bool:
        """Whether it has read its file and takes commands."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith(b"+PONG")
        except OSError:
            return False
        finally:
            writer.transport.abort()

    def _log(self) -> str:
        text = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
        return " ".join(text.splitlines()[-3:])[-300:]


@asynccontextmanager
async def local_redis() -> AsyncGenerator[LocalRedis]:
    """Run a redis-server as long as the context lasts, with its files in a folder that goes too.

    Raises:
        CommandError: None is installed, or it does not start.
    """
    binary = shutil.which(PROGRAM)
    if binary is None:
        raise CommandError(
            f"--redis starts a {PROGRAM}, and none is installed; install it (on Debian: apt "
            f"install {PROGRAM}) or say where one is: --redis redis://localhost:6379/0"
        )
    with tempfile.TemporaryDirectory(prefix="millpond-demo-") as folder:
        server = LocalRedis(binary, Path(folder))
        try:
            await server.start()
            yield server
        finally:
            await server.kill()


def _free_port() -> int:
    while True:
        port = SystemRandom().randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
