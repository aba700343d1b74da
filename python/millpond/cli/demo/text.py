"""The demo in plain text: figures for people, progress lines, the final report."""

from __future__ import annotations

from collections.abc import Iterator
from shutil import get_terminal_size
from textwrap import wrap
from typing import TextIO

from millpond.cli.demo.report import WITHOUT_CACHE_BASIS, Quantiles, Report
from millpond.cli.demo.sharing import Once, Outage, Sharing

UNKNOWN = "unknown"


def duration(seconds: float | None) -> str:
    """Write a latency with three digits and its unit.

    Example:
        >>> duration(0.0000123), duration(0.25), duration(None)
        ('12.3 us', '250 ms', '-')
    """
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= 0.9995 * size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def dollars(amount: float | None) -> str:
    """Write an amount of money; small ones get more digits.

    Example:
        >>> dollars(12.3456), dollars(0.0123), dollars(None)
        ('$12.35', '$0.0123', 'unknown')
    """
    if amount is None:
        return UNKNOWN
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def percent(share: float) -> str:
    """Write a share in percent with one digit."""
    return f"{100 * share:.1f} %"


def faster(report: Report, name: str) -> str:
    """Write how many times faster a quantile (`p50` …) is with the cache."""
    with_cache: float | None = getattr(report.with_cache, name)
    without: float | None = getattr(report.without_cache, name)
    if not with_cache or without is None:
        return "-"
    ratio = without / with_cache
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


def progress_line(report: Report) -> str:
    """Return one line about where the run stands."""
    sharing = report.sharing
    redis = "" if sharing is None else f"; Redis {redis_state(sharing)}"
    return (
        f"{report.elapsed_seconds:6.1f} s  {report.calls:,} calls: {report.hits:,} hits "
        f"({percent(report.hit_rate)}), {report.coalesced:,} coalesced, {report.misses:,} paid, "
        f"{report.failed:,} failed; p50 {duration(report.with_cache.p50)} "
        f"(without {duration(report.without_cache.p50)}); spent {dollars(report.dollars_spent)}, "
        f"saved {dollars(report.dollars_saved)}{redis}"
    )


def redis_state(sharing: Sharing) -> str:
    """Tell in a few words whether Redis is there, and how many workers use it."""
    using = sum(worker.state == "closed" for worker in sharing.workers)
    if not sharing.up:
        return "is killed"
    count = len(sharing.workers)
    if using < count:
        return f"serves {using} of {count} workers"
    return "serves its worker" if count == 1 else f"serves all {count} workers"


def report_lines(report: Report, *, width: int = 100) -> Iterator[str]:
    """Yield the lines of the final report, folded at `width` cells.

    Args:
        report: The figures.
        width: At least 40.
    """
    for name, text in _report_rows(report):
        if not name:
            yield text
            continue
        yield from wrap(
            text,
            width=max(40, width),
            initial_indent=f"  {name:<16}  ",
            subsequent_indent=" " * 20,
        )


def _report_rows(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the rows of the report: a name and what it says; the heading has no name."""
    setting = report.setting
    how = {"interrupted": ", ended early by Ctrl-C", "budget": ", ended by the budget"}
    yield (
        "",
        f"millpond demo: {report.calls:,} calls in {report.elapsed_seconds:.1f} s"
        f"{how.get(report.ended, '')}",
    )
    yield "hit rate", f"{percent(report.hit_rate)} ({report.hits:,} hits)"
    yield (
        "calls avoided",
        f"{percent(report.avoided_rate)} ({report.calls_avoided:,}: {report.hits:,} hits, "
        f"{report.coalesced:,} coalesced with a call under way); {report.misses:,} paid",
    )
    if report.failed or report.unfinished:
        yield (
            "not answered",
            f"{report.failed:,} failed, {report.unfinished:,} still open at the end; "
            "neither is in the other figures",
        )
    if report.failed:
        yield "last error", report.last_error or "unknown"
    if report.sharing is not None:
        yield from _sharing_rows(report.sharing)
    yield "with the cache", f"{_quantiles(report.with_cache)}; a hit {duration(report.hit_p50)}"
    yield "without it", f"{_quantiles(report.without_cache)} ({WITHOUT_CACHE_BASIS})"
    yield "money", _money(report)
    yield "traffic", " ".join(setting.notes)
    yield "provider", setting.provider


def _sharing_rows(sharing: Sharing) -> Iterator[tuple[str, str]]:
    count = len(sharing.workers)
    yield (
        "hits by tier",
        f"{sharing.memory_hits:,} from the memory of the worker itself, {sharing.redis_hits:,} "
        f"from Redis: another of the {count} workers had paid, or was about to"
        if count > 1
        else f"{sharing.memory_hits:,} from memory, {sharing.redis_hits:,} from Redis",
    )
    yield "paid once", _paid_once(sharing.once)
    if sharing.outage is not None:
        yield "outage", _outage(sharing.outage)
        yield "lost", _lost(sharing.outage)
    yield "redis", sharing.redis


def _paid_once(once: Once) -> str:
    again = once.outage + once.together + once.other
    if again == 0:
        return f"each of {once.questions:,} questions, by all workers together"
    reasons = {
        "because Redis was out": once.outage,
        "by workers that asked in the same moment": once.together,
        "for other reasons": once.other,
    }
    told = ", ".join(f"{number:,} {why}" for why, number in reasons.items() if number)
    return f"{once.questions:,} questions, by all workers together; paid again: {told}"


def _outage(outage: Outage) -> str:
    text = f"Redis was killed after {outage.killed:.1f} s"
    if outage.started is None:
        text += " and not started again before the end"
    else:
        text += f" and started again after {outage.started:.1f} s"
        if outage.back is not None:
            text += f"; all workers used it again {duration(outage.back)} later"
    text += f". Meanwhile {outage.calls:,} calls, {outage.hits:,} of them hits"
    text += f", {outage.failed:,} failed" if outage.failed else ", none failed"
    if outage.overhead is not None:
        text += f"; the slowest paid one took {duration(outage.overhead)} longer than the provider"
    return text


def _lost(outage: Outage) -> str:
    before, after = outage.entries
    if after is None:
        return f"unknown: Redis held {before:,} answers before it was killed"
    lost = max(0, before - after)
    said = "nothing" if lost == 0 else f"{lost:,} answers"
    return f"{said}: Redis held {before:,} answers when it was killed, {after:,} when it was back"


def _quantiles(quantiles: Quantiles) -> str:
    return (
        f"p50 {duration(quantiles.p50)}, p95 {duration(quantiles.p95)}, "
        f"p99 {duration(quantiles.p99)}"
    )


def _money(report: Report) -> str:
    model = report.setting.model
    if report.dollars_spent is None or report.dollars_saved is None:
        return f"spent {UNKNOWN}, saved {UNKNOWN}: genai-prices has no price for {model}"
    whole = report.dollars_spent + report.dollars_saved
    return (
        f"spent {dollars(report.dollars_spent)}, saved {dollars(report.dollars_saved)} of "
        f"{dollars(whole)} ({model}, prices of genai-prices)"
    )


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


class LineView:
    """Shows a run as lines of text, for pipes, logs and small terminals.

    Args:
        progress: Where progress lines go; None for none.
        report: Where the final report goes; None for nowhere.
        interval: Seconds between progress lines.
    """

    def __init__(self, *, progress: TextIO | None, report: TextIO | None, interval: float) -> None:
        self._progress = progress
        self._report = report
        self.interval = interval

    def start(self) -> None:
        """Nothing to prepare."""

    def update(self, report: Report) -> None:
        """Print a progress line."""
        if self._progress is not None:
            print(progress_line(report), file=self._progress, flush=True)

    def stop(self) -> None:
        """Nothing to restore."""

    def finish(self, report: Report) -> None:
        """Print the final report."""
        if self._report is not None:
            width = min(100, get_terminal_size().columns) if self._report.isatty() else 100
            print(*report_lines(report, width=width), sep="\n", file=self._report, flush=True)
