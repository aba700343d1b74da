"""The command: chooses rows, measures, prints, saves, compares."""

from __future__ import annotations

import argparse
import fnmatch
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import compare, machine, passes, peers, probes, report
from .model import Row
from .rows import all_rows

FORMAT = 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description="Measure millpond beside its peers, all in the same run, as one table.",
        epilog="Exit code 0; 1 if --compare finds a regression or a row of millpond's fails.",
    )
    add = parser.add_argument
    add("--list", action="store_true", help="print the rows and their targets, measure nothing")
    add(
        "--filter",
        action="append",
        default=[],
        metavar="TEXT",
        help="only rows whose name contains TEXT or matches it as a glob; may be repeated",
    )
    add("--quick", action="store_true", help="fewer rounds, no slow rows: for orientation")
    add("--data", type=Path, metavar="DIR", help="the shared data folder, for rows on traces")
    add("--save", type=Path, metavar="FILE", help="write the run with all its rounds as JSON")
    add("--load", type=Path, metavar="FILE", help="measure nothing: show or compare a saved run")
    add("--compare", type=Path, metavar="FILE", help="compare with a saved run")
    add(
        "--threshold",
        type=float,
        default=100 * compare.FLOOR,
        metavar="PERCENT",
        help="the least change that --compare reports (default %(default)g)",
    )
    add("--json", action="store_true", help="print the run as JSON")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--into", type=Path, metavar="PAGE", help="put the tables into a Markdown page as well")
    return parser


def choose(rows: Sequence[Row], filters: Sequence[str], *, quick: bool) -> list[Row]:
    """Return the rows that the filters name (all without one); a quick run has no slow rows
    unless a filter asks for them."""
    if filters:
        return [
            row
            for row in rows
            if any(text in row.name or fnmatch.fnmatch(row.name, text) for text in filters)
        ]
    return [row for row in rows if not (quick and row.slow)]


def _list(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        marks = [mark for mark in ("slow", "data") if getattr(row, mark)]
        note = f" ({', '.join(marks)})" if marks else ""
        lines.append(f"{row.name}{note}: {row.title}")
        lines += [f"    {target.whose} {target.text(row.unit)}" for target in row.targets]
    return "\n".join(lines)


def _measure(rows: Sequence[Row], settings: passes.Settings) -> dict[str, Any]:
    about = machine.describe()
    # Progress goes to standard error, so that standard output is the table alone.
    results = passes.run(rows, settings, lambda line: print(line, file=sys.stderr, flush=True))
    return {
        "format": FORMAT,
        "machine": about,
        "versions": peers.versions(),
        "settings": {"quick": settings.quick},
        "rows": [result.as_json() for result in results],
    }


def _load(path: Path) -> dict[str, Any]:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"benchmarks: {path} is not a saved run: {error}") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise SystemExit(f"benchmarks: {path} is not a saved run of format {FORMAT}")
    return run


def _suspects(old: dict[str, Any], run: dict[str, Any], floor: float) -> set[str]:
    return {verdict.row for verdict in compare.compare(old, run, floor=floor) if verdict.slower}


def _confirm(
    old: dict[str, Any],
    run: dict[str, Any],
    rows: Sequence[Row],
    settings: passes.Settings,
    floor: float,
) -> None:
    """Measure once more what looks slower, and keep the second figures of what then does not.

    A neighbour on the machine can disturb all rounds of a row; it seldom does so twice.
    """
    suspects = _suspects(old, run, floor)
    if not suspects:
        return
    print(f"measuring {len(suspects)} row(s) again that look slower", file=sys.stderr)
    again = _measure([row for row in rows if row.name in suspects], settings)
    cleared = suspects - _suspects(old, again, floor)
    better = {row["name"]: row for row in again["rows"] if row["name"] in cleared}
    run["rows"] = [better.get(row["name"], row) for row in run["rows"]]


def _print_comparison(old: dict[str, Any], run: dict[str, Any], floor: float) -> bool:
    """Print the verdicts; return whether something got worse."""
    print("\nCompared with the saved run")
    for difference in compare.strangers(old, run):
        print(f"  beware, not the same setting: {difference}")
    verdicts = list(compare.compare(old, run, floor=floor))
    for verdict in verdicts:
        print(verdict)
    lost = compare.lost(old, run)
    for line in lost:
        print(f"        lost  {line}")
    if not verdicts and not lost:
        print("  no row of millpond's was measured in both runs")
    return bool(lost) or any(verdict.slower for verdict in verdicts)


def _repeating(options: argparse.Namespace) -> str:
    """The command that makes the same tables on another machine."""
    words = ["python", "tests/benchmarks", *(["--quick"] if options.quick else [])]
    for text in options.filter:
        words += ["--filter", text]
    words += ["--data", "DIR"] if options.data else []
    return shlex.join([*words, "--into", str(options.into)])


def _failed(run: dict[str, Any]) -> bool:
    return any(
        entry["ours"] and entry.get("skipped", "").startswith("failed")
        for row in run["rows"]
        for entry in row["contenders"].values()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == [probes.FLAG]:
        return probes.answer(given[1])
    if given[:1] == [passes.FLAG]:
        return passes.answer(given[1])
    options = _parser().parse_args(given)
    rows = choose(all_rows(), options.filter, quick=options.quick)
    if not rows:
        print(f"benchmarks: no row matches {', '.join(options.filter)}", file=sys.stderr)
        return 2
    if options.list:
        print(_list(rows))
        return 0
    if options.data is not None and not options.data.is_dir():
        print(f"benchmarks: --data {options.data} is not a folder", file=sys.stderr)
        return 2
    if options.into is not None and not options.into.is_file():
        print(f"benchmarks: --into {options.into} is not a page", file=sys.stderr)
        return 2
    old = _load(options.compare) if options.compare else None
    floor = options.threshold / 100
    if options.load:
        run = _load(options.load)
    else:
        settings = passes.Settings(quick=options.quick, data=options.data)
        run = _measure(rows, settings)
        if old is not None:
            _confirm(old, run, rows, settings, floor)
    if options.save:
        options.save.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    if options.into:
        page = options.into.read_text(encoding="utf-8")
        page = report.placed(page, run, _repeating(options))
        options.into.write_text(page, encoding="utf-8")
    if options.json:
        print(json.dumps(run, indent=1))
    else:
        print(report.as_markdown(run) if options.markdown else report.as_text(run))
    worse = _print_comparison(old, run, floor) if old is not None else False
    return 1 if worse or _failed(run) else 0
