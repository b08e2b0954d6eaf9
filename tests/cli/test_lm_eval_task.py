"""A run's probes as tasks of lm-evaluation-harness."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from oocr.cli.exports import export_run
from oocr.runs.folder import RunFolder
from oocr.runs.resolve import tasks_of
from tests.command_line import Call


def test_a_runs_probes_become_a_task(call: Call, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    code, printed, _ = call("export", done, "--to", "lm-eval-task", "--out", out)
    assert (code, f"--include_path {out} --tasks oocr_tiny" in printed) == (0, True), printed
    settings = yaml.safe_load((out / "oocr_tiny.yaml").read_text(encoding="utf-8"))
    rows_file = Path(settings["dataset_kwargs"]["data_files"]["test"])
    rows = [json.loads(line) for line in rows_file.read_text(encoding="utf-8").splitlines()]
    (task,) = tasks_of(RunFolder(done)).test
    assert [(row["prompt"], row["options"]) for row in rows] == [
        (probe.prompt, list(probe.options)) for probe in task.probes
    ]
    assert [row["options"][row["answer"]] for row in rows] == [x.answer for x in task.probes]
    assert settings["target_delimiter"] == ""
    code, _, err = call("export", done, "--to", "lm-eval-task", "--out", out)
    assert (code, "is there already" in err) == (2, True)


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="needs lm-eval")
def test_lm_eval_loads_the_task(call: Call, done: Path, tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    out = tmp_path / "tasks"
    call("export", done, "--to", "lm-eval-task", "--out", out)
    manager = TaskManager(include_path=str(out), include_defaults=False)
    assert "oocr_tiny" in manager.all_tasks


def test_an_extra_that_is_missing_is_named_with_its_command(
    call: Call, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_run, "find_spec", lambda _: None)
    code, _, err = call("export", done, "--to", "inspect", "--out", "logs")
    assert (code, "pip install 'oocr[inspect]'" in err) == (2, True), err


def test_what_is_no_finished_run_is_refused(call: Call, done: Path, copy: Path) -> None:
    for given, message in (
        (copy / "config.yaml", "this is a file"),
        (copy / "arms", "holds no run.json"),
    ):
        code, _, err = call("export", given, "--to", "lm-eval-task", "--out", copy / "x")
        assert (code, message in err) == (2, True), err
    (copy / "rows.parquet").unlink()
    code, _, err = call("export", copy, "--to", "lm-eval-task", "--out", copy / "x")
    assert (code, "the run is not finished" in err) == (2, True)
