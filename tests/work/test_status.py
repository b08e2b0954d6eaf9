"""`oocr status`: what a run's folder says of those who are at work on it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from oocr import leases
from oocr.cli.cluster.status import lines_of_shared, status_lines
from oocr.errors import InputError
from oocr.leases import Claims
from oocr.stores import FolderStore
from oocr.work import status as status_module
from oocr.work.shared_jobs import Failure, JobList, job_name
from oocr.work.status import status_of
from tests.command_line import Call


def board(folder: Path, jobs: int = 10, done: int = 4, state: str = "s") -> Path:
    """The folder of a stage of a run."""
    (folder / "config.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").touch()
    stage = folder / "work" / state / "training"
    stage.mkdir(parents=True)
    labels = tuple(f"arm {n}" for n in range(jobs))
    costs = tuple(float(jobs - n) for n in range(jobs))
    listed = JobList(stage="training", order=1, labels=labels, costs=costs)
    (stage / "jobs.json").write_text(listed.model_dump_json())
    for n in range(done):
        marker = {"host": "node1", "seconds": 2.0 * (jobs - n)}
        (stage / f"{job_name(n)}.done").write_text(json.dumps(marker))
    return stage


def test_who_is_at_work_since_when_and_for_how_long_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = board(tmp_path / "run")
    now = [0.0]
    here, there = Claims(60, lambda: now[0]), Claims(60, lambda: now[0])
    first = here.take(FolderStore(stage), job_name(4), 0, "arm 4")
    monkeypatch.setattr(leases, "_place", lambda: "another machine")
    second = there.take(FolderStore(stage), job_name(5), 1, "arm 5")
    monkeypatch.undo()
    assert first
    assert second
    now[0] = 200.0
    first.beat(now[0])
    hour = time.time() + 3600  # this machine's clock, which is an hour wrong
    monkeypatch.setattr(time, "time", lambda: hour)
    status = status_of(FolderStore(tmp_path / "run"))
    (training,) = status.stages
    assert (training.jobs, training.done) == (10, 4)
    assert [job.label for job in training.in_work] == ["arm 4", "arm 5"]
    assert [round(job.seconds) for job in training.in_work] == [200, 0]
    assert not any(job.gone for job in training.in_work), "the storage's clock counts"
    assert training.left == pytest.approx(2 * sum(range(1, 7)) / 2)
    os.utime(stage / second.name, (0, 0))
    lines = status_lines(status_of(FolderStore(tmp_path / "run")))
    assert "not finished" in lines[0]
    assert "4 of 10, 2 in work, at most about 42 s left with 1 job at a time" in lines[1]
    assert lines[2].endswith(f"(process {os.getpid()}), for 3 min")
    assert "no sign of life" in lines[3]


def test_failures_are_told_with_where_and_what(tmp_path: Path) -> None:
    stage = board(tmp_path / "run")
    fields = {"label": "arm 9", "host": "node7", "pid": 12, "when": "2026-01-01T00:00:00+00:00"}
    failure = Failure(**fields, error="ValueError: no", trace="")
    (stage / f"{job_name(9)}.failed").write_text(failure.model_dump_json())
    text = "\n".join(status_lines(status_of(FolderStore(tmp_path / "run"))))
    assert "4 of 10, 1 failed" in text
    assert "failed: arm 9: ValueError: no; node7 (process 12), 2026-01-01" in text
    assert "nobody is at work on it; it goes on with: oocr work" in text
    with pytest.raises(InputError, match="not a run folder"):
        status_of(FolderStore(tmp_path))


def test_a_shared_work_shows_runs_of_its_names_only(tmp_path: Path) -> None:
    for run in ("mine-1a2b3c4d", "mine-layers-1a2b3c4d"):
        board(tmp_path / run)
    (line,) = lines_of_shared(["mine"], FolderStore(tmp_path))
    assert line.startswith("mine-1a2b3c4d  ")


def test_a_large_store_is_read_with_few_files_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board(tmp_path / "run", jobs=2000, done=1990)
    opened: list[str] = []
    done_of = leases.done_of
    noted = lambda store, job: (opened.append(job), done_of(store, job))[1]  # noqa: E731
    monkeypatch.setattr(status_module, "done_of", noted)
    (training,) = status_of(FolderStore(tmp_path / "run")).stages
    assert training.done == 1990
    assert len(opened) <= status_module.TIMED


def test_a_plain_run_has_a_status_too(call: Call, copy: Path) -> None:
    code, out, err = call("status", copy)
    assert (code, err) == (0, "")
    assert "finished; made with torch" in out
    assert f"report: {copy / 'report.html'}" in out
    (copy / "run.json").unlink()
    assert "not finished" in call("status", copy).out
    assert "test 4" in call("status", copy).out
    assert call("status", copy / "arms").code == 2
