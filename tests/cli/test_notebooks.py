"""The notebooks run from top to bottom, offline, and still show what they show."""

from __future__ import annotations

import ast
import importlib
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
KERNEL = all(find_spec(name) for name in ("nbclient", "ipykernel"))


def cells(path: Path) -> list[dict[str, Any]]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in read["cells"] if cell["cell_type"] == "code"]


def shown(cell: dict[str, Any]) -> list[str]:
    """What a code cell shows, its numbers left out: they may differ in the last digit."""
    texts: list[str] = []
    for output in cell["outputs"]:
        if output.get("name") == "stderr":
            continue
        data = output.get("data", {})
        text = data.get("text/html") or data.get("text/plain") or output.get("text", "")
        text = re.sub(r"[-+−]?\d[\d.e,]*", "#", "".join(text))
        if texts and output["output_type"] == "stream":
            texts[-1] += text  # it comes in pieces
        else:
            texts.append(text)
    return texts


def by_kernel(paths: list[Path]) -> list[dict[str, Any]]:
    """The code cells of all notebooks as one kernel runs them, each one's names apart."""
    nbformat, nbclient = (importlib.import_module(name) for name in ("nbformat", "nbclient"))
    new = nbformat.v4.new_code_cell
    code = [[new("".join(cell["source"])) for cell in cells(path)] for path in paths]
    book = nbformat.v4.new_notebook(
        cells=[cell for part in code for cell in (new("%reset -f"), *part)]
    )
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
    return [cell for part in code for cell in part]


def by_python(path: Path) -> list[bool]:
    """Run the code cells in this process; per cell whether it ends in a value that is shown."""
    names: dict[str, Any] = {}
    values: list[bool] = []
    for cell in cells(path):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        value = None
        if last is not None:
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)  # type: ignore[attr-defined]
        values.append(value is not None)
    return values


def test_there_are_four_and_all_show_what_they_do() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "1-first-vector",
        "2-your-own-data",
        "3-audit-an-adapter",
        "4-the-nano-world",
    ]
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'/(home|root|Users|tmp|usr)/|"output_type": "error"', text)
        assert len(text) < 200_000
        shows = [cell for cell in cells(path) if cell["outputs"]]
        assert len(shows) >= len(cells(path)) - 1


@pytest.mark.skipif(not KERNEL, reason="needs nbclient and ipykernel; run without them below")
def test_a_kernel_shows_what_is_kept() -> None:
    kept = [cell for path in NOTEBOOKS for cell in cells(path)]
    for old, new in zip(kept, by_kernel(NOTEBOOKS), strict=True):
        assert shown(new) == shown(old), "".join(old["source"])


@pytest.mark.skipif(KERNEL, reason="a kernel runs them above")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_ends_in_what_is_kept(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [
        any(out["output_type"] == "execute_result" for out in cell["outputs"])
        for cell in cells(path)
    ]
    assert by_python(path) == kept
    capsys.readouterr()
