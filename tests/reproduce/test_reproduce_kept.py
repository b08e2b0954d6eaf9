"""What is read of a finished run's folder, and when its analyses are made anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from oocr.errors import InputError
from oocr.reproduce.analyses import analyses
from oocr.reproduce.analysis import Analysis, AnalysisResult, analyse
from oocr.reproduce.finished_runs import FinishedRuns, read_finished
from oocr.reproduce.scoring import NotMeasuredError
from oocr.runs.context import RunContext
from oocr.runs.records import ArmRecord, GridPoint, Role, Selection
from tests.tiny.runs import tiny_config

CLAIM: dict[str, Any] = {
    **{"id": "constancy-energy", "claim": "c", "measure": "m", "rule": "r", "command": "x"},
    "found": {"value": 0.9, "low": 0.8, "high": 1.0, "n": "1 member × 1 seed"},
    "verdict": "holds",
}


def choice(layer: int, rate: float, score: float, *, chosen: bool = False) -> GridPoint:
    return GridPoint(
        method="vector", layer=layer, learning_rate=rate, step=4, score=score, chosen=chosen
    )


def add_arm(folder: Path, role: Role, layer: int, rate: float, control: str = "") -> None:
    arm = ArmRecord(
        **{"id": f"{role}-{control}-{layer}-{rate}", "method": "vector", "role": role},
        **{"control": control, "task": "t", "member": "t", "seed": 0, "layer": layer},
        **{"positions": "last", "learning_rate": rate, "learning_rate_absolute": rate},
        **{"stop_step": 4, "steps": 4, "norm": 1.0, "losses": (1.0,), "stop_losses": {}},
        **{"seconds": 0.0, "key": f"{role}{control}{layer}{rate}"},
    )
    path = folder / "arms" / arm.id / "arm.json"
    path.parent.mkdir(parents=True)
    path.write_text(arm.model_dump_json())


def write_rows(folder: Path, arm: str) -> None:
    names = {"arm": arm, "control": "", "part": "probes", "member": "t", "facet": "f", "group": "g"}
    row = {**names, "seed": 0, "step": None, "final": True}
    pl.DataFrame([row]).write_parquet(folder / "rows.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    grid = (
        choice(0, 0.1, 0.2),
        choice(0, 0.2, 0.3),
        choice(1, 0.1, 0.9, chosen=True),
        choice(1, 0.2, 0.4),
    )
    selection = Selection(criterion="c", tasks=("t",), grid=grid)
    (tmp_path / "selection.json").write_text(selection.model_dump_json())
    config = tiny_config(Path("model"), {"family": "countries"}, workers=2)
    (tmp_path / "config.yaml").write_text(config.yaml())
    (tmp_path / "claims.json").write_text(json.dumps([CLAIM]))
    write_rows(tmp_path, "vector")
    add_arm(tmp_path, "selection", 1, 0.1)
    add_arm(tmp_path, "test", 1, 0.1)
    add_arm(tmp_path, "control", 1, 0.1, "shuffled")
    add_arm(tmp_path, "sweep", 0, 0.2)
    return tmp_path


def keys(folder: Path) -> list[str]:
    return sorted(arm.key for arm in read_finished(folder).arms)


def test_arms_of_an_earlier_choice_are_not_read(folder: Path) -> None:
    now = ["controlshuffled10.1", "sweep00.2", "test10.1"]
    assert keys(folder) == now
    add_arm(folder, "test", 1, 0.2)
    add_arm(folder, "test", 0, 0.1)
    add_arm(folder, "control", 0, 0.1, "shuffled")
    add_arm(folder, "sweep", 1, 0.1)
    assert keys(folder) == now
    (folder / "selection.json").unlink()
    with pytest.raises(InputError, match=r"selection.json is missing; do the run again"):
        keys(folder)


CONTEXT = cast(RunContext, SimpleNamespace(model=SimpleNamespace(name="m", fingerprint="f")))


@pytest.fixture
def count(folder: Path) -> Callable[[], int]:
    """Does an analysis of the folder as it is, and counts how often it has been made."""
    runs_read: list[FinishedRuns] = []

    def measure(finished: FinishedRuns) -> AnalysisResult:
        runs_read.append(finished)
        return AnalysisResult()

    def again() -> int:
        runs = FinishedRuns("countries", (read_finished(folder),), CONTEXT)
        analyse(runs, Analysis("counted", measure))
        return len(runs_read)

    return again


def test_an_analysis_is_made_anew_when_rows_change_and_not_for_other_workers(
    folder: Path, count: Callable[[], int]
) -> None:
    assert [count(), count()] == [1, 1]
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("workers: 2", "workers: 1"))
    assert read_finished(folder).config.workers == 1
    assert count() == 1
    write_rows(folder, "adapter")
    assert [count(), count()] == [2, 2]
    (folder / "config.yaml").write_text(text.replace("seeds: 2", "seeds: 3"))
    assert count() == 3


def test_an_analysis_whose_table_is_gone_is_made_anew(folder: Path) -> None:
    runs = FinishedRuns("countries", (read_finished(folder),), CONTEXT)
    table = pl.DataFrame({"x": [1.0]})
    analysis = Analysis("drawn", lambda _: AnalysisResult(rows=table.to_dicts()))
    assert analyse(runs, analysis)[1].equals(table)  # type: ignore[union-attr]
    (folder / "analyses" / "drawn.parquet").unlink()
    assert analyse(runs, analysis)[1].equals(table)  # type: ignore[union-attr]


def test_why_nothing_was_measured_is_kept_with_the_result(folder: Path) -> None:
    def refuse(_: FinishedRuns) -> AnalysisResult:
        raise NotMeasuredError("no vector was trained")

    runs = FinishedRuns("countries", (read_finished(folder),), CONTEXT)
    kept, table = analyse(runs, Analysis("refused", refuse))
    assert (kept.missing, kept.findings, table) == ("no vector was trained", (), None)


def test_what_a_run_judged_is_read_anew_each_time(folder: Path) -> None:
    for verdict in ("holds", "does not hold"):
        (folder / "claims.json").write_text(json.dumps([{**CLAIM, "verdict": verdict}]))
        runs = FinishedRuns("countries", (read_finished(folder),), CONTEXT)
        (finding,) = analyse(runs, analyses()["judged"])[0].findings
        assert finding.id == "constancy-energy"
        assert (finding.verdict, finding.units) == (verdict, 1)
