"""Prints a run: one table a group (rows by contenders), then the targets, then what was left out.

Everything is made from the saved form of a run (see `model.Result.as_json`), so that a run that is
read back prints as it did.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import stats

Run = dict[str, Any]

_RESULTS = "## Results"
_REPEAT = """Each section is one run, put here by the harness itself on a build of type Release:

```sh
{command}
```"""


def figure(value: float) -> str:
    """Print a figure to three digits or so, as a table wants it."""
    if value != value:
        return "nan"
    size = abs(value)
    if size >= 1_000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def head(run: Run) -> list[str]:
    machine, settings = run["machine"], run["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    mode = "quick run, for orientation only" if settings["quick"] else "full run"
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, "
        f"load {machine['load']} at the start",
        f"{machine['python']} ({machine['compiler']}, {machine['flags']}), "
        f"commit {machine['commit']}",
        versions,
        f"{mode}; an empty timed loop costs {machine['loop_floor_ns']} ns a turn, "
        "which is not subtracted",
    ]


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    if "rounds" not in entry:
        return "failed" if entry["skipped"].startswith("failed") else "-"
    text = figure(entry["median"])
    return f"{text} ({entry['ratio']:.2f}x)" if "ratio" in entry else text


def _spread(row: dict[str, Any]) -> str:
    """Return the spread between the passes of our own contender (or the first that ran)."""
    entries = [entry for entry in row["contenders"].values() if "rounds" in entry]
    mine = [entry for entry in entries if entry["ours"]] or entries
    if not mine or row["passes"] < 2:
        return ""
    return f"±{100 * stats.relative_spread(stats.by_pass(mine[0]['rounds'], row['passes'])):.1f}%"


def _groups(run: Run) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in run["rows"]:
        groups.setdefault(row["name"].split("/")[0], []).append(row)
    return groups


def _matrix(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return header and lines of one group's table; columns in the order they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row["contenders"]))
    lines = [["row", "unit", *columns, "spread"]]
    for row in rows:
        cells = [_cell(row["contenders"].get(name)) for name in columns]
        lines.append([row["name"], row["unit"], *cells, _spread(row)])
    return lines


def _targets(run: Run) -> list[list[str]]:
    lines = [["row", "whose", "figure", "target", ""]]
    for row in run["rows"]:
        for target in row["targets"]:
            value = target["figure"]
            shown = "not measured" if value is None else figure(value)
            verdict = {True: "met", False: "NOT MET", None: ""}[target["met"]]
            lines.append([row["name"], target["whose"], shown, target["text"], verdict])
    return lines


def _left_out(run: Run) -> list[str]:
    """Say what did not run and why, one line a reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in run["rows"]:
        for name, entry in row["contenders"].items():
            if "rounds" not in entry:
                reasons.setdefault((name, entry["skipped"]), []).append(row["name"])
    return [
        f"{name}: {why} [{', '.join(rows) if len(rows) < 4 else f'{len(rows)} rows'}]"
        for (name, why), rows in reasons.items()
    ]


def _notes(run: Run) -> list[str]:
    return [
        f"{row['name']}, {name}: "
        + ", ".join(f"{key} {value}" for key, value in entry["notes"].items())
        for row in run["rows"]
        for name, entry in row["contenders"].items()
        if entry.get("notes")
    ]


def _aligned(lines: list[list[str]]) -> Iterable[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        left = line[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        yield "  ".join([left, *rest]).rstrip()


def _markdown(lines: list[list[str]]) -> Iterable[str]:
    yield "| " + " | ".join(lines[0]) + " |"
    yield "|" + "|".join(["---"] + ["---:"] * (len(lines[0]) - 1)) + "|"
    for line in lines[1:]:
        yield "| " + " | ".join([f"`{line[0]}`", *line[1:]]) + " |"


def as_text(run: Run) -> str:
    out = head(run)
    for rows in _groups(run).values():
        out += ["", *_aligned(_matrix(rows))]
    targets = _targets(run)
    if len(targets) > 1:
        out += ["", "Targets", *_aligned(targets)]
    for title, lines in (("Notes", _notes(run)), ("Left out", _left_out(run))):
        if lines:
            out += ["", title, *lines]
    return "\n".join(out)


def placed(page: str, run: Run, command: str) -> str:
    """Return the Markdown `page` with the tables of `run` in the section of its Python version.

    The section stands between two comments; a page that has none yet gets it at its end, under a
    heading with the `command` that repeats it.
    """
    version = run["machine"]["python"].rpartition(".")[0]
    begin, end = f"<!-- {version} -->", f"<!-- end of {version} -->"
    section = f"{begin}\n### {version}\n\n{as_markdown(run)}\n{end}"
    before, found, rest = page.partition(begin)
    if not found:
        heading = "" if _RESULTS in page else f"{_RESULTS}\n\n{_REPEAT.format(command=command)}\n\n"
        return f"{page.rstrip()}\n\n{heading}{section}\n"
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page has {begin} but no {end}")
    return before + section + after


def as_markdown(run: Run) -> str:
    out = [f"- {line}" for line in head(run)]
    for rows in _groups(run).values():
        out += ["", *(f"- `{row['name']}`: {row['title']}" for row in rows)]
        out += ["", *_markdown(_matrix(rows))]
    targets = _targets(run)
    if len(targets) > 1:
        out += ["", *_markdown(targets)]
    for title, lines in (("Notes", _notes(run)), ("Left out", _left_out(run))):
        if lines:
            out += ["", f"{title}:", "", *(f"- {line}" for line in lines)]
    return "\n".join(out)
