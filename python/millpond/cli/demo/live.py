"""The demo's live view: one screen of Rich panels, redrawn a few times a second.

`draw` makes the picture of a report for a given size; `LiveView` keeps it on the screen and leaves
the last picture and the report behind. Legible from 70 x 18 cells on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from millpond.cli.demo.report import Report
from millpond.cli.demo.sharing import Sharing
from millpond.cli.demo.text import (
    dollars,
    duration,
    faster,
    percent,
    redis_state,
    report_lines,
)

MIN_WIDTH, MIN_HEIGHT = 70, 18
FINISH_HEIGHT = 32
SHARING_HEIGHT = (
    12  # What several workers add to the last figures and the report, beside a row each.
)
LEVELS = " ▁▂▃▄▅▆▇█"
ASCII_LEVELS = " .:-=+*%#"
FRAME = "grey50"
HIT, COALESCED, PAID, FAILED, SHARED = "green", "cyan", "yellow", "red", "blue"


def draw(report: Report, *, width: int, height: int, ascii_only: bool = False) -> RenderableType:
    """Return the screen for `report`, `width` by `height` cells.

    Below 17 rows, the list of questions is left out. With a height of 0 the picture is as high as
    it has to be without that list.
    """
    left = width // 2
    right = width - left
    parts: list[RenderableType] = [
        _head(report, width, ascii_only),
        _beside(
            _panel("calls", _calls(report, left - 4, ascii_only), left),
            _panel("latency", _latency(report), right),
        ),
        _beside(
            _panel("dollars", _dollars(report, left - 4, ascii_only), left),
            _panel("calls avoided over time", _timeline(report, right - 4, ascii_only), right),
        ),
    ]
    rows = height - 16  # What the other parts and this panel's own frame leave.
    if report.sharing is not None:
        count = len(report.sharing.workers)
        lines = count + 2 if height == 0 else min(count + 2, rows)
        if lines >= 1:
            workers = _workers(report.sharing, lines, width - 4, ascii_only)
            parts.append(_panel("workers", workers, width))
            rows -= lines + 2
    if rows >= 1:
        parts.append(_panel("asked most", _top(report, rows, ascii_only), width))
    parts.append(_foot(report, width, ascii_only))
    return Group(*parts)


def _workers(sharing: Sharing, lines: int, width: int, ascii_only: bool) -> RenderableType:
    """Return what the workers do and, in the last of so many lines, how Redis is."""
    grid = Table(box=None, expand=True, padding=(0, 1), pad_edge=False, show_edge=False)
    grid.add_column("", no_wrap=True, header_style="dim")
    for name in ("calls", "from memory", "from Redis", "paid"):
        grid.add_column(name, justify="right", header_style="dim", no_wrap=True)
    room = max(8, width - 50)
    grid.add_column("", width=room, no_wrap=True)
    for number, worker in enumerate(sharing.workers[: max(0, lines - 2)], start=1):
        hits = worker.memory_hits + worker.redis_hits
        whole = max(1, hits + worker.paid)
        parts = [
            (worker.memory_hits / whole, HIT),
            (worker.redis_hits / whole, SHARED),
            (worker.paid / whole, PAID),
        ]
        grid.add_row(
            f"worker {number}",
            f"{worker.calls:,}",
            Text(f"{worker.memory_hits:,}", style=HIT),
            Text(f"{worker.redis_hits:,}", style=SHARED),
            Text(f"{worker.paid:,}", style=PAID),
            _bar(parts, room, ascii_only),
        )
    state = redis_state(sharing)
    good = sharing.up and all(worker.state == "closed" for worker in sharing.workers)
    left = Text.assemble("Redis ", (state, f"bold {HIT if good else FAILED}"))
    ends = _ends(left, _last_outage(sharing))
    return ends if lines < 3 else Group(grid, ends)


def _last_outage(sharing: Sharing) -> Text:
    outage = sharing.outage
    if outage is None:
        return Text("")
    if not sharing.up:
        return Text(f"since {outage.killed:.0f} s", style=FAILED)
    if outage.back is None:
        return Text("started again", style="dim")
    return Text(f"used again {duration(outage.back)} after it was started", style="dim")


def _overflow(ascii_only: bool) -> Literal["crop", "ellipsis"]:
    return "crop" if ascii_only else "ellipsis"


def _beside(left: Panel, right: Panel) -> Table:
    grid = Table.grid(padding=0)
    grid.add_row(left, right)
    return grid


def _panel(title: str, body: RenderableType, width: int) -> Panel:
    return Panel(
        body,
        title=f"[bold]{title}[/]",
        title_align="left",
        width=width,
        box=box.ROUNDED,
        border_style=FRAME,
    )


def _head(report: Report, width: int, ascii_only: bool) -> Text:
    """Return the name, the progress through the planned time, and the clock."""
    planned = report.setting.planned_seconds
    share = min(1.0, report.elapsed_seconds / planned)
    name = "  millpond demo  "
    clock = f"  {report.elapsed_seconds:.0f} of {planned:.0f} s  "
    bar = _bar([(share, "blue")], max(4, width - len(name) - len(clock)), ascii_only)
    return Text.assemble((name, "bold"), bar, clock, no_wrap=True)


def _foot(report: Report, width: int, ascii_only: bool) -> Text:
    setting = report.setting
    running = report.ended == "running"
    ending = "Ctrl-C ends it; " if running else ""
    foot = Text(f"  {ending}{setting.model} at {setting.provider}", style="dim", no_wrap=True)
    foot.truncate(width, overflow=_overflow(ascii_only))
    return foot


def _calls(report: Report, width: int, ascii_only: bool) -> RenderableType:
    answered = max(1, report.hits + report.coalesced + report.misses)
    rows = (
        ("hits", report.hits, HIT),
        ("coalesced", report.coalesced, COALESCED),
        ("paid", report.misses, PAID),
    )
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_column(justify="right")
    grid.add_column(ratio=1)
    room = max(3, width - 9 - 8 - 8 - 3)
    for name, count, style in rows:
        share = count / answered
        grid.add_row(
            Text(name, style=style),
            f"{count:,}",
            percent(share),
            _bar([(share, style)], room, ascii_only),
        )
    waiting = Text(f"failed {report.failed:,}", style=FAILED if report.failed else "dim")
    hit_rate = Text.assemble("hit rate ", (percent(report.hit_rate), f"bold {HIT}"))
    return Group(grid, Text(""), _ends(hit_rate, waiting))


def _latency(report: Report) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for name, style in (("without", PAID), ("with", HIT), ("faster", "bold")):
        table.add_column(name, justify="right", header_style="dim", style=style, no_wrap=True)
    for name in ("p50", "p95", "p99"):
        table.add_row(
            name,
            duration(getattr(report.without_cache, name)),
            duration(getattr(report.with_cache, name)),
            faster(report, name),
        )
    hit = Text.assemble("a hit takes ", (duration(report.hit_p50), f"bold {HIT}"), " (p50)")
    return Group(table, hit)


def _dollars(report: Report, width: int, ascii_only: bool) -> RenderableType:
    spent, saved = report.dollars_spent, report.dollars_saved
    if spent is None or saved is None:
        model = escape(report.setting.model)
        return Text.from_markup(f"spent unknown\nsaved unknown\n[dim]no price for {model}[/]")
    whole = (spent + saved) or 1.0
    left = Text.assemble("saved ", (dollars(saved), f"bold {HIT}"))
    right = Text.assemble("spent ", (dollars(spent), PAID))
    bar = _bar([(saved / whole, HIT), (spent / whole, PAID)], width, ascii_only)
    note = Text(f"{percent(saved / whole)} of {dollars(spent + saved)} saved", style="dim")
    return Group(_ends(left, right), bar, note)


def _ends(left: Text, right: Text) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_row(left, right)
    return grid


def _timeline(report: Report, width: int, ascii_only: bool) -> Group:
    """Return the share of avoided calls over time, two cells high, and its axis.

    Red is the time in which Redis was out.
    """
    shares = resample(report.timeline, width)
    upper, lower = Text(), Text()
    out = _out(report)
    for column, share in enumerate(shares):
        top, bottom = _column(share, ascii_only)
        style = FAILED if out[0] <= (column + 0.5) / width < out[1] else HIT
        upper.append(top, style=style)
        lower.append(bottom, style=style)
    planned = f"{report.setting.planned_seconds:.0f} s"
    axis = Text("0 s".ljust(max(4, width - len(planned))) + planned, style="dim")
    return Group(upper, lower, axis)


def _out(report: Report) -> tuple[float, float]:
    """Return when Redis was out, from and to, in shares of the planned time."""
    outage = None if report.sharing is None else report.sharing.outage
    if outage is None:
        return 2.0, 2.0
    planned = report.setting.planned_seconds
    if outage.started is None or outage.back is None:
        return outage.killed / planned, 2.0
    return outage.killed / planned, (outage.started + outage.back) / planned


def _column(share: float | None, ascii_only: bool) -> tuple[str, str]:
    levels = ASCII_LEVELS if ascii_only else LEVELS
    if share is None:
        return " ", " "
    height = max(1, round(share * 16))
    return levels[max(0, height - 8)], levels[min(8, height)]


def resample(values: Sequence[float | None], width: int) -> list[float | None]:
    """Average `values` into `width` columns; a column without a value is None."""
    columns: list[float | None] = []
    for column in range(width):
        begin = column * len(values) // width
        end = max(begin + 1, (column + 1) * len(values) // width)
        known = [value for value in values[begin:end] if value is not None]
        columns.append(sum(known) / len(known) if known else None)
    return columns


def _top(report: Report, rows: int, ascii_only: bool) -> RenderableType:
    if not report.top:
        return Group(Text("waiting for the first answers", style="dim"), *[Text("")] * (rows - 1))
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow=_overflow(ascii_only))
    grid.add_column(justify="right")
    grid.add_column(justify="right", style="dim")
    grid.add_column()
    most = report.top[0].calls
    for count in report.top[:rows]:
        avoided = (count.calls - count.paid) / most
        grid.add_row(
            Text(count.question),
            f"{count.calls:,} calls",
            f"{count.paid:,} paid",
            _bar([(avoided, HIT), (count.paid / most, PAID)], 12, ascii_only),
        )
    for _ in range(rows - len(report.top)):
        grid.add_row("", "", "", "")
    return grid


def _bar(parts: Sequence[tuple[float, str]], width: int, ascii_only: bool) -> Text:
    """Return a bar of coloured parts (shares of the whole width), padded to `width` cells."""
    full, empty = ("#", ".") if ascii_only else ("━", "╌")
    bar = Text(no_wrap=True)
    drawn, upto = 0, 0.0
    for share, style in parts:
        upto += share
        cells = min(width, round(upto * width))
        bar.append(full * max(0, cells - drawn), style=style)
        drawn = max(drawn, cells)
    bar.append(empty * (width - drawn), style="grey23")
    return bar


class LiveView:
    """Shows a run on a terminal.

    Args:
        console: The terminal.
    """

    interval = 0.2

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, screen=True)

    @staticmethod
    def fits(console: Console) -> bool:
        """Whether the terminal is large enough."""
        return console.width >= MIN_WIDTH and console.height >= MIN_HEIGHT

    def start(self) -> None:
        """Take the screen."""
        self._live.start()

    def update(self, report: Report) -> None:
        """Redraw."""
        self._live.update(self._draw(report, height=self._console.height), refresh=True)

    def stop(self) -> None:
        """Give the screen back."""
        self._live.stop()

    def finish(self, report: Report) -> None:
        """Leave the report behind, below the last figures where both fit on the screen."""
        rows = 0 if report.sharing is None else len(report.sharing.workers) + SHARING_HEIGHT
        if self._console.height >= FINISH_HEIGHT + rows:
            self._console.print(self._draw(report, height=0))
            self._console.print()
        for line in report_lines(report, width=min(100, self._console.width)):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _draw(self, report: Report, *, height: int) -> RenderableType:
        return draw(
            report,
            width=self._console.width,
            height=height,
            ascii_only=self._console.options.ascii_only,
        )


def save_picture(report: Report, path: Path, *, width: int = 92, height: int = 26) -> None:
    """Write the screen for `report` as an SVG picture."""
    console = Console(record=True, width=width, height=height, file=StringIO())
    console.print(draw(report, width=width, height=height))
    picture = console.export_svg(title="millpond demo")
    # Rich names a web font; the picture stays by itself and takes the viewer's monospaced one.
    path.write_text(re.sub(r"@font-face \{[^}]*\}\s*", "", picture), encoding="utf-8")
