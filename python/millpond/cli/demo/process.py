"""Starts the local provider as a process of its own and stops it again."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from millpond.cli.failure import CommandError

START_SECONDS = 30.0
STOP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class LocalProvider:
    """A provider that runs: its address, and the process behind it."""

    url: str
    process: Process

    async def died(self) -> int:
        """Wait until the process ends and return its exit code."""
        return await self.process.wait()


@asynccontextmanager
async def local_provider(*, seed: int, speed: float) -> AsyncGenerator[LocalProvider]:
    """Run a provider as long as the context lasts.

    Args:
        seed: The same seed gives the same answers.
        speed: How many times faster than the published law it answers.

    Raises:
        CommandError: The process does not start.

    Example:
        >>> async def address() -> str:
        ...     async with local_provider(seed=0, speed=1.0) as provider:
        ...         return provider.url
    """
    # Its standard input stays open as long as this process lives, however that ends; a session of
    # its own keeps the terminal's Ctrl-C away from it.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "millpond.cli.demo.provider",
        *("--seed", str(seed), "--speed", repr(speed), "--stop-with-stdin"),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    try:
        yield LocalProvider(await _read_address(process, process.stdout), process)
    finally:
        await _stop(process)


async def _read_address(process: Process, output: StreamReader | None) -> str:
    line = b""
    if output is not None:
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await output.readline()
        except TimeoutError:
            raise CommandError(
                f"the local provider printed no address within {START_SECONDS:g} s"
            ) from None
    if not line:
        code = await process.wait()
        raise CommandError(f"the local provider ended at its start, with exit code {code}")
    return str(json.loads(line)["url"])


async def _stop(process: Process) -> None:
    """Close its input, which asks it to stop; end it where it does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
