"""Which view shows a run: a live screen, lines of text, or nothing but JSON at the end."""

from __future__ import annotations

import json
import sys
from typing import Protocol

from millpond._version import installed_version
from millpond.cli.demo.report import Report
from millpond.cli.demo.settings import Settings
from millpond.cli.demo.text import LineView


class View(Protocol):
    """Shows a run."""

    @property
    def interval(self) -> float:
        """Seconds between updates."""
        ...

    def start(self) -> None:
        """Prepare; the run begins."""

    def update(self, report: Report) -> None:
        """Show the figures so far."""

    def stop(self) -> None:
        """Restore what `start` changed; the run is over, well or not."""

    def finish(self, report: Report) -> None:
        """Show the final report."""


class JsonView(LineView):
    """Prints the final report as JSON on standard output.

    Args:
        progress: Whether progress lines go to standard error.
        interval: Seconds between progress lines.
    """

    def __init__(self, *, progress: bool, interval: float) -> None:
        super().__init__(progress=sys.stderr if progress else None, report=None, interval=interval)

    def finish(self, report: Report) -> None:
        """Print one JSON object."""
        values = {"millpond": installed_version(), **report.as_json()}
        print(json.dumps(values, indent=2, allow_nan=False), flush=True)


def choose_view(settings: Settings) -> View:
    """Return the view that the options and the terminal call for."""
    interval = min(5.0, max(0.5, settings.seconds / 12))
    if settings.json:
        return JsonView(progress=settings.progress, interval=interval)
    from rich.console import Console

    from millpond.cli.demo.live import LiveView

    console = Console()
    if sys.stdout.isatty() and not settings.plain and LiveView.fits(console):
        return LiveView(console)
    return LineView(progress=sys.stdout, report=sys.stdout, interval=interval)
