"""A run that processes share: the numbers of `oocr run`, whoever is killed, and clear ends."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oocr.errors import InputError, RunError
from oocr.io import disk_errors
from oocr.leases import Claims
from oocr.runs.folder import MADE_WITH, exclusive_lock, shared_lock
from oocr.runs.processes.executor import Executor, Worker
from oocr.runs.progress import ProgressReport
from oocr.runs.resolve import resolve
from oocr.runs.stages import PreparedRun
from oocr.stores import FolderStore
from oocr.work.shared_jobs import failure_of
from oocr.work.shared_run import work_on
from tests.command_line import Call
from tests.killed import made, open_claims
from tests.tiny.runs import ROOT, Tiny, claims_of, environment, rows_of, write_yaml


def work(tiny: Tiny, out: Path, lease: float = 5.0) -> Path:
    worker, config = Worker(), tiny.config()
    worker.put(config, tiny.model)
    prepared = PreparedRun.of(resolve(config, Path()), tiny.model)
    with Executor(worker) as executor:
        report = ProgressReport()
        return work_on(prepared, executor, out, progress=report, command="oocr", lease=lease)


def test_processes_that_are_killed_and_stopped_share_a_run(
    tiny: Tiny, done: Path, tmp_path: Path
) -> None:
    source = write_yaml(tmp_path / "run.yaml", json.loads(tiny.config().model_dump_json()))
    words = [str(source), str(tmp_path / "out"), "2", "2", "1"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.work.crew", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert result["codes"] == [0, 0], ended.stderr
    folder = Path(result["folder"])
    assert rows_of(folder).equals(rows_of(done))
    assert claims_of(folder) == claims_of(done)
    for before in result["before"]:
        assert before.items() <= result["after"].items(), "nothing finished is done again"
    assert not list((folder / "arms").glob(".*"))
    assert not open_claims(folder / "work")
    jobs = list((folder / "work").rglob("*.done"))
    # Begun twice: what one had in hand when it was stopped or killed, and perhaps what a process
    # held that the machine did not run for a lease; never most of them.
    assert len(jobs) <= len(result["jobs"]) <= 1.5 * len(jobs)
    assert len(list((folder / "logs").iterdir())) == 3


def test_a_run_that_was_begun_by_one_command_goes_on_with_the_other(
    tiny: Tiny, copy: Path, done: Path
) -> None:
    before = made(copy)
    (copy / "rows.parquet").unlink()
    assert work(tiny, copy.parent) == copy
    assert before == made(copy), "finished arms stay"
    assert rows_of(copy).equals(rows_of(done))
    before = made(copy)
    assert tiny.run(copy.parent) == copy
    assert before == made(copy)
    gone = sorted((copy / "arms").glob("test-*"))[0]
    shutil.rmtree(gone)
    work(tiny, copy.parent)
    assert made(copy).keys() == before.keys(), "what was deleted is done again"
    assert rows_of(copy).equals(rows_of(done))


def test_results_that_would_round_otherwise_are_refused(tiny: Tiny, copy: Path) -> None:
    path = copy / MADE_WITH
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "torch": "1.0", "device": "Toy GPU"}))
    with pytest.raises(InputError, match=r"torch 1\.0 there, .* here; device Toy GPU there"):
        work(tiny, copy.parent)
    notes: list[str] = []
    report = ProgressReport()
    report.note = notes.append  # type: ignore[method-assign]
    tiny.run(copy.parent, progress=report)
    assert "were made with torch 1.0, 1 thread, Toy GPU, float32; here is torch" in notes[0]
    assert json.loads(path.read_text()) == kept
    work(tiny, copy.parent)


def test_one_who_has_the_folder_alone_and_those_who_share_it_exclude_each_other(
    tiny: Tiny, copy: Path
) -> None:
    with exclusive_lock(copy), pytest.raises(RunError, match="another process is at work on"):
        work(tiny, copy.parent)
    with (
        shared_lock(copy),
        shared_lock(copy),
        pytest.raises(RunError, match="another process is at work on"),
    ):
        tiny.run(copy.parent)
    folder = copy / "work" / "state" / "training"
    folder.mkdir(parents=True)
    with Claims() as claims:  # as on another machine whose storage shares no locks
        assert claims.take(FolderStore(folder), "000000", 0, "an arm") is not None
        with pytest.raises(RunError, match=rf"processes are at work on .*oocr work {copy}"):
            tiny.run(copy.parent)


def test_a_job_that_fails_is_left_and_the_others_are_done(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Executor.submit

    def broken(self: Executor, label: str, spec: Any, job: Any, task: str) -> Any:
        def refuse(_: Any) -> None:
            raise ValueError("no such thing")

        return submit(self, label, spec, refuse if label.startswith("adapter") else job, task)

    with monkeypatch.context() as patch:
        patch.setattr(Executor, "submit", broken)
        with pytest.raises(RunError, match=r"could not be done \(adapter at.*ValueError: no such"):
            work(tiny, tmp_path)
    (folder,) = tmp_path.iterdir()
    (failed,) = folder.rglob("*.failed")
    failure = failure_of(FolderStore(failed.parent), failed.name)
    assert failure is not None
    assert "in refuse" in failure.trace
    assert len(made(folder)) >= 2, "the vectors"
    work(tiny, tmp_path)
    assert not list(folder.rglob("*.failed"))


def test_a_full_disk_ends_this_process_and_leaves_the_job_to_others(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Executor.submit

    def full(self: Executor, label: str, spec: Any, job: Any, task: str) -> Any:
        def write(_: Any) -> None:
            with disk_errors(tmp_path / "arm"):
                raise OSError(errno.ENOSPC, "no room")

        return submit(self, label, spec, write if label.startswith("adapter") else job, task)

    monkeypatch.setattr(Executor, "submit", full)
    with pytest.raises(RunError, match=r"the disk is full: .* make room"):
        work(tiny, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert not list(folder.rglob("*.claim"))
    assert not list(folder.rglob("*.failed")), "it is this machine's trouble, not the job's"


def test_the_command_takes_a_run_or_its_folder(call: Call, tiny: Tiny, copy: Path) -> None:
    code, out, err = call("work", copy, "--lease", "5")
    assert (code, err) == (0, "")
    assert f"report: {copy / 'report.html'}" in out
    assert call("work", copy / "nothing").code == 2
    (link := copy.parent / "link").symlink_to(copy)
    assert "it would be another run" not in call("work", link, "--lease", "5").err
    code, _, err = call("work", copy, "--seeds", "3")
    assert (code, "it would be another run (tiny-" in err) == (2, True)
    assert "leave device at auto" in call("work", copy, "--devices", "0").err
