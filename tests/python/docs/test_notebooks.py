"""The notebooks run from top to bottom, and are kept without outputs."""

from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(notebook: Path) -> Any:
    return nbformat.read(notebook, as_version=4)


def named(notebook: Path) -> str:
    return notebook.name


def test_the_notebooks_are_numbered_without_a_gap() -> None:
    assert [int(notebook.name[:2]) for notebook in NOTEBOOKS] == [*range(1, len(NOTEBOOKS) + 1)]
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=named)
def test_a_notebook_is_kept_without_outputs(notebook: Path) -> None:
    cells = [cell for cell in read(notebook).cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert [cell.execution_count for cell in cells] == [None] * len(cells)


def run(notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a notebook displayed, by kind, and what it wrote, by stream."""
    from nbclient import NotebookClient

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(folder / name))
    played = read(notebook)
    NotebookClient(
        played, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    shown: dict[str, str] = {}
    for output in (output for cell in played.cells for output in cell.get("outputs", ())):
        parts = output.get("data") or {output.get("name", "error"): output.get("text", "")}
        for kind, text in parts.items():
            shown[kind] = shown.get(kind, "") + text
    return shown


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_first_shows_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(NOTEBOOKS[0], tmp_path, monkeypatch)
    assert "stderr" not in shown
    assert "| dollars saved |" in shown["text/markdown"]
    assert {"cold_or_evicted", "invalidated", "bypass"} <= set(shown["text/markdown"].split())
    assert shown["image/svg+xml"].count("<polyline") == 5
