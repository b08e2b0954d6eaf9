"""Jobs that processes share: which one a process takes, and when it gives up."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from oocr.errors import RunError
from oocr.leases import Claims
from oocr.runs.progress import ProgressReport
from oocr.stores import FolderStore
from oocr.work.shared_jobs import SharedJobs, failure_of, job_name

COSTS = (5.0, 4.0, 9.0, 8.0, 2.0, 0.0)


def do(folder: Path, jobs: SharedJobs, tasks: str = "", fails: str = "") -> str:
    """The letters of the jobs a to f, in the order in which they are begun."""
    begun: list[str] = []

    def begin(letter: str) -> Future[str]:
        begun.append(letter)
        future: Future[str] = Future()
        if letter in fails:
            future.set_exception(ValueError(f"no {letter}"))
        else:
            future.set_result(letter)
        return future

    named = [(letter, partial(begin, letter)) for letter in "abcdef"]
    jobs.do(FolderStore(folder), "some", named, COSTS, Future.result, 1, tasks)
    return "".join(begun)


def test_the_dearest_first_and_those_of_a_known_task_before_as_dear_ones(tmp_path: Path) -> None:
    with Claims() as claims:
        report = ProgressReport()
        assert do(tmp_path / "1", SharedJobs(claims, report)) == "cdabef"
        assert do(tmp_path / "2", SharedJobs(claims, report), tasks="xyxyx") == "cadbef"
        assert do(tmp_path / "1", SharedJobs(claims, report)) == "", "they are done"
        (tmp_path / "3").mkdir()
        (tmp_path / "3" / f"{job_name(2)}.done").touch()  # by another process, which knows x
        assert do(tmp_path / "3", SharedJobs(claims, report), tasks="xyxxx")[0] == "b"


def test_each_is_tried_once_and_the_rest_is_done_before_it_is_said(tmp_path: Path) -> None:
    with Claims() as claims:
        jobs = SharedJobs(claims, ProgressReport())
        with pytest.raises(RunError, match=r"2 of the jobs could not be done \(c, e\): .*no c"):
            do(tmp_path, jobs, fails="ce")
        failure = failure_of(FolderStore(tmp_path), f"{job_name(2)}.failed")
        assert failure is not None
        assert failure.label == "c"
        assert sorted(path.stem for path in tmp_path.glob("*.done")) == [
            job_name(place) for place in (0, 1, 3, 5)
        ]
        assert do(tmp_path, SharedJobs(claims, ProgressReport())) == "ce"
