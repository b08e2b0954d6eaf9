"""Killed at any moment and started again: nothing finished is redone, the numbers are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from oocr.models.load import read_model
from oocr.runs.folder import run_folder, run_threads
from oocr.runs.read_config import load_configs
from oocr.runs.resolve import resolve
from oocr.runs.run import run
from oocr.stores import FolderStore
from tests.tiny.runs import ROOT, claims_of, environment, rows_of, write_tiny_run


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of a tiny run; its folder holds the model, the task, and a finished run."""
    return write_tiny_run(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def whole(source: Path) -> Path:
    """The folder of the same run, never interrupted, in one process."""
    (config,) = load_configs(source)
    return run(config, read_model(config.model), source.parent / "whole")


def killed(source: Path, out: Path, kills: int, most: int, seed: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed", *map(str, (source, out, kills, most, seed))],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert result["code"] == 0, done.stderr
    return result


def check(result: dict[str, Any], whole: Path) -> None:
    """Nothing finished was redone, nothing half-done is left, the numbers are those of `whole`."""
    for before in result["before"]:
        assert before.items() <= result["after"].items()
    folder = Path(result["folder"])
    assert not list((folder / "arms").glob(".*")), "what was half-written is swept out"
    assert not list(folder.glob(".*.*"))
    assert rows_of(folder).equals(rows_of(whole))
    assert claims_of(folder) == claims_of(whole)


def test_killed_at_any_moment_it_goes_on_with_the_same_numbers(
    source: Path, whole: Path, tmp_path: Path
) -> None:
    result = killed(source, tmp_path, kills=6, most=4)
    assert len({len(before) for before in result["before"]}) > 2, "killed at different moments"
    check(result, whole)


def test_two_workers_die_with_it_and_have_given_the_same_numbers(
    source: Path, whole: Path, tmp_path: Path
) -> None:
    (config,) = load_configs(source)
    path = tmp_path / "run.yaml"
    path.write_text(config.model_copy(update={"workers": 2}).yaml(), encoding="utf-8")
    result = killed(path, tmp_path / "runs", kills=1, most=12)
    assert result["workers"] >= 2
    assert result["orphans"] == 0
    assert len(result["before"][0]) > 5, "arms of the two workers, finished by one process"
    assert Path(result["folder"]).name == whole.name, "workers are no part of what a run is"
    check(result, whole)


def test_it_goes_on_with_as_many_threads_as_it_began_with(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_threads(FolderStore(tmp_path), 3) == 3
    assert run_threads(FolderStore(tmp_path), 1) == 3, (
        "finished arms are not redone for want of a core"
    )
    (tmp_path / "threads").write_text("x")
    assert run_threads(FolderStore(tmp_path), 2) == 2

    (config,) = load_configs(source)
    folder = run_folder(resolve(config, source.parent)[0], tmp_path)
    folder.mkdir(parents=True)
    (folder / "threads").write_text("5\n")
    asked: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    run(config, read_model(config.model), tmp_path)
    assert asked == [5, 1], "and those of the caller are restored"


def test_ctrl_c_says_so_and_keeps_what_was_computed(source: Path, tmp_path: Path) -> None:
    words = ["run", str(source), "--out", str(tmp_path), "--workers", "2", "--seeds", "40"]
    process = subprocess.Popen(
        [sys.executable, "-m", "oocr", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(tmp_path.glob("*/arms/test-*")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    try:
        _, printed = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert printed.strip() == (
        "stopped by you; finished work is kept, and the same command continues from there"
    )
    assert list(tmp_path.glob("*/arms/test-*/arm.json"))
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]
