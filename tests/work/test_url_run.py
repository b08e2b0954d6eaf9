"""A run whose processes share nothing but a URL: `oocr work`, `oocr status`, `oocr show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from oocr.errors import RunError
from oocr.leases import Claims
from oocr.runs.processes.executor import Executor, Worker
from oocr.runs.progress import ProgressReport
from oocr.runs.resolve import resolve
from oocr.runs.stages import PreparedRun
from oocr.stores import StoreError, open_url
from oocr.work.mirror import Mirror
from oocr.work.shared_run import work_on
from tests.command_line import Call
from tests.tiny.runs import Tiny, claims_of, rows_of, write_yaml
from tests.work.exclusive import URL, Exclusive
from tests.work.one_process import OneProcess


class UrlRun(NamedTuple):
    """A run for an address, the store there, and the same run's folder without an address."""

    tiny: Tiny
    files: type[Exclusive]
    done: Path


@pytest.fixture
def url_run(tiny: Tiny, files: type[Exclusive], done: Path) -> UrlRun:
    return UrlRun(tiny, files, done)


def test_whoever_goes_on_elsewhere_does_what_is_missing(
    url_run: UrlRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, files, done = url_run
    taken: list[tuple[str, str]] = []
    take, push, pushes = Claims.take, Mirror.push, [0]

    def noted(self: Claims, store: Any, job: str, *rest: Any) -> Any:
        if claim := take(self, store, job, *rest):
            taken.append((str(store), job))
        return claim

    def breaks(self: Mirror, files: Any = ()) -> None:
        pushes[0] += 1
        if pushes[0] == 4:  # a job is finished, and its results cannot be brought away
            raise StoreError("the store is away")
        push(self, files)

    def work(out: Path) -> Path:
        worker, config = Worker(), tiny.config()
        worker.put(config, tiny.model)
        prepared = PreparedRun.of(resolve(config, Path()), tiny.model)
        with Executor(worker) as executor:
            report, url = ProgressReport(), open_url(URL)
            return work_on(prepared, executor, out, progress=report, command="x", url=url)

    monkeypatch.setattr(Claims, "take", noted)
    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "push", breaks)
        with pytest.raises(RunError, match="the store is away"):
            work(tmp_path / "1")
    before, first = list(taken), open_url(URL)
    folder = work(tmp_path / "2")
    assert rows_of(folder).equals(rows_of(done))
    assert claims_of(folder) == claims_of(done)
    markers = first.find("*/work/*/*/*.done")
    assert not first.find("*/work/*/*/*.claim")
    assert len(before) < len(markers)
    assert len(taken) == len(markers) + 1, "done again is what could not be brought away"
    files.calls.clear()
    assert rows_of(work(tmp_path / "1")).equals(rows_of(done))
    assert len(taken) == len(markers) + 1
    assert files.calls["create"] == 1, "config.yaml"


def test_the_commands_take_an_address(
    call: Call, url_run: UrlRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, files, done = url_run
    settings = json.loads(tiny.config().model_dump_json())
    source = write_yaml(tmp_path / "run.yaml", settings)
    refused = call("run", source, "--out", URL)
    assert (refused.code, "runs at an address are done by `oocr work`" in refused.err) == (2, True)
    engine = OneProcess(monkeypatch)
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "cache"))
    code, out, err = call("run", source, "--out", URL, "--ray", "auto")
    assert (code, err) == (0, "")
    assert engine.works[0].words == ["work", str(source), "--out", URL]
    folder = tmp_path / "cache" / "mirrors" / "exclusive" / "bucket" / "runs" / done.name
    address = f"{URL}/{done.name}"
    assert f"report: {folder / 'report.html'}\nshared: {address}/report.html" in out
    assert rows_of(folder).equals(rows_of(done))
    code, out, err = call("status", address)
    assert (code, err) == (0, "")
    assert f"{address}: finished; made with torch" in out
    assert f"report: {address}/report.html" in out
    code, out, err = call("show", address, "--local", tmp_path / "shown")
    assert (code, err) == (0, "")
    assert rows_of(tmp_path / "shown" / done.name).equals(rows_of(done))
    code, out, err = call("work", address, "--local", tmp_path / "more")
    assert (code, err) == (0, "")
    assert claims_of(tmp_path / "more" / done.name) == claims_of(done)
    assert "it holds no config.yaml" in call("work", f"{URL}/nothing").err
    assert "allowed: with an address" in call("work", source, "--local", tmp_path / "x").err
    path = f"{address.removeprefix('exclusive:/')}/made_with.json"
    kept = json.loads(files.store[path].getvalue())
    files().pipe_file(path, json.dumps({**kept, "torch": "1.0"}).encode())
    assert "torch 1.0 there" in call("work", address, "--local", tmp_path / "other").err
