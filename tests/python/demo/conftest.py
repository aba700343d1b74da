"""What the demo's tests share: a running provider and a clean environment for its clients."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest


@dataclass(frozen=True)
class Running:
    """A provider's process and where it listens."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port


def start_provider(*options: str, stderr: int | None = None) -> Running:
    """Start a provider that stops when its standard input closes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "millpond.cli.demo.provider", "--stop-with-stdin", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    assert process.stdout is not None
    return Running(process, json.loads(process.stdout.readline())["url"])


def stop_provider(running: Running) -> int:
    """Close the provider's input and return its exit code."""
    process = running.process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    code = process.wait(timeout=10)
    process.stdout.close()
    return code


@pytest.fixture(scope="session")
def provider() -> Iterator[Running]:
    """A provider that answers a thousand times faster than in life."""
    running = start_provider("--speed", "1000", "--seed", "7")
    yield running
    assert stop_provider(running) == 0


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the account and the proxies of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
