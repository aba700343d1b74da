"""The command from end to end, on two cheap rows, and how rows are chosen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks import cli, report
from benchmarks.model import Row
from benchmarks.rows import all_rows

ROOT = Path(__file__).resolve().parents[3]


def _command(*arguments: str, module: bool = False) -> subprocess.CompletedProcess[str]:
    how = ["-m", "tests.benchmarks"] if module else ["tests/benchmarks"]
    return subprocess.run(
        [sys.executable, *how, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def _rows(*names: str, slow: str = "") -> list[Row]:
    return [Row(name, name, (), slow=name == slow) for name in names]


def test_filters_take_parts_of_names_and_globs() -> None:
    rows = _rows("hit/one/str", "hit/zipf/str", "get/str")
    assert [row.name for row in cli.choose(rows, ["zipf"], quick=False)] == ["hit/zipf/str"]
    assert [row.name for row in cli.choose(rows, ["hit/*"], quick=False)] == [
        "hit/one/str",
        "hit/zipf/str",
    ]
    assert [row.name for row in cli.choose(rows, ["get", "one"], quick=False)] == [
        "hit/one/str",
        "get/str",
    ]
    assert cli.choose(rows, ["nothing"], quick=False) == []


def test_a_quick_run_has_slow_rows_only_if_they_are_asked_for() -> None:
    rows = _rows("a", "b", slow="b")
    assert [row.name for row in cli.choose(rows, [], quick=False)] == ["a", "b"]
    assert [row.name for row in cli.choose(rows, [], quick=True)] == ["a"]
    assert [row.name for row in cli.choose(rows, ["b"], quick=True)] == ["b"]


def test_every_row_has_a_name_of_its_own_and_sound_references() -> None:
    rows = all_rows()
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        names = {contender.name for contender in row.contenders}
        assert not row.baseline or row.baseline in names, row.name
        for target in row.targets:
            asked = {target.whose, target.of or target.whose, target.minus or target.whose}
            assert asked <= names, f"{row.name}: {asked - names}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run of two cheap rows, saved by the command itself."""
    path = tmp_path_factory.mktemp("bench") / "run.json"
    done = _command("--quick", "--filter", "hit/one", "--save", str(path))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "hit/one/str" in done.stdout
    assert "lru_cache" in done.stdout
    return path


def _changed(saved: Path, factor: float) -> dict[str, Any]:
    """Return the saved run with figures of ours: `factor` times lru_cache's."""
    run: dict[str, Any] = json.loads(saved.read_text())
    for row in run["rows"]:
        rounds = [factor * value for value in row["contenders"]["lru_cache"]["rounds"]]
        row["contenders"]["millpond"] = {
            "ours": True,
            "peer": "millpond",
            "median": sorted(rounds)[len(rounds) // 2],
            "rounds": rounds,
        }
    return run


def test_a_saved_run_names_machine_versions_and_all_rounds(saved: Path) -> None:
    run = json.loads(saved.read_text())
    assert [row["name"] for row in run["rows"]] == ["hit/one/str", "hit/one/int"]
    assert set(run["machine"]) >= {"cpu", "cores", "kernel", "python", "commit", "loop_floor_ns"}
    assert set(run["versions"]) >= {"millpond", "cachetools", "cachebox", "orjson"}
    rounds = run["rows"][0]["contenders"]["lru_cache"]["rounds"]
    assert run["rows"][0]["passes"] == 3
    assert len(rounds) == 9
    assert all(5 < value < 5_000 for value in rounds)
    assert run["rows"][0]["contenders"]["lru_cache"]["ratio"] == 1.0


def test_a_saved_run_prints_as_text_markdown_and_json(saved: Path) -> None:
    run = json.loads(saved.read_text())
    text = _command("--load", str(saved), module=True)
    assert text.returncode == 0, text.stderr
    assert text.stdout.rstrip("\n") == report.as_text(run)
    markdown = _command("--load", str(saved), "--markdown").stdout
    assert "| `hit/one/str` | ns |" in markdown
    assert "`hit/one/str`: decorated hit" in markdown
    assert json.loads(_command("--load", str(saved), "--json").stdout) == run


def test_tables_are_placed_into_the_section_of_their_python(saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n")
    assert _command("--load", str(saved), "--into", str(page)).returncode == 0
    first = page.read_text()
    assert first.startswith("# Benchmarks\n\n## Results\n\nEach section is one run")
    assert f"python tests/benchmarks --into {page}\n```\n\n<!-- CPython 3." in first
    assert first.count("| `hit/one/str` | ns |") == 1
    page.write_text(first.replace("| `hit/one/str` | ns |", "| stale |") + "Afterwards.\n")
    assert _command("--load", str(saved), "--into", str(page)).returncode == 0
    assert page.read_text() == first + "Afterwards.\n"


def test_runs_of_two_pythons_have_a_section_each(saved: Path) -> None:
    run = json.loads(saved.read_text())
    run["machine"]["python"] = "CPython 3.11.7"
    page = report.placed("# Benchmarks\n", run, "make bench")
    run["machine"]["python"] = "CPython 3.13.0"
    page = report.placed(page, run, "make bench")
    assert page.count("## Results\n") == 1
    assert page.index("### CPython 3.11\n") < page.index("### CPython 3.13\n")
    with pytest.raises(ValueError, match="but no <!-- end of CPython"):
        report.placed(page.replace("<!-- end of CPython 3.13 -->", ""), run, "make bench")


def test_comparing_tells_slower_from_equal_by_exit_code(saved: Path, tmp_path: Path) -> None:
    old, same, worse = (tmp_path / name for name in ("old.json", "same.json", "worse.json"))
    old.write_text(json.dumps(_changed(saved, 0.5)))
    same.write_text(json.dumps(_changed(saved, 0.51)))
    worse.write_text(json.dumps(_changed(saved, 0.6)))
    equal = _command("--load", str(same), "--compare", str(old))
    assert equal.returncode == 0, equal.stdout
    ours = [
        name
        for row in json.loads(same.read_text())["rows"]
        for name in row["contenders"]
        if name.startswith("millpond")
    ]
    assert equal.stdout.count("within noise") == len(ours) >= 2
    slower = _command("--load", str(worse), "--compare", str(old))
    assert slower.returncode == 1, slower.stdout
    assert "slower  hit/one/str  millpond  +20.0%" in slower.stdout
    faster = _command("--load", str(old), "--compare", str(worse))
    assert faster.returncode == 0
    assert "faster  hit/one/int" in faster.stdout


def test_listing_measures_nothing_and_names_targets() -> None:
    done = _command("--list", "--filter", "hit/one/str")
    assert done.returncode == 0
    assert "millpond <= 0.6 x lru_cache" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--filter", "nothing-of-that-name"), "no row matches nothing-of-that-name"),
        (("--filter", "hit/one", "--data", "no-such-folder"), "is not a folder"),
        (("--filter", "hit/one", "--compare", "no-such-file"), "is not a saved run"),
        (("--filter", "hit/one", "--into", "no-such-page"), "is not a page"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_measured(
    arguments: tuple[str, ...], message: str
) -> None:
    done = _command(*arguments)
    assert done.returncode not in (0, None)
    assert message in done.stderr
    assert "[1/" not in done.stderr
