"""`oocr export RUN --to tensorboard|wandb|trackio|mlflow`: what is written is read back.

The trackers themselves are tested where they are installed (`pip install 'oocr[wandb]'` …).
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from accelerate.tracking import GeneralTracker

from oocr.cli.exports import export_run
from oocr.runs.folder import RunFolder
from oocr.tracking.tracked_runs import TrackedRun, tracked_runs
from oocr.tracking.trackers import Store, Tracker, log_runs, write_tracked
from tests.command_line import Call

Numbers = dict[str, dict[int, dict[str, float]]]
"""Run -> step -> name -> number."""


class FakeTracker(GeneralTracker):
    """Notes what it is asked to do."""

    name = "fake"
    requires_logging_directory = False

    def __init__(self, run: str, calls: list[tuple[Any, ...]]) -> None:
        super().__init__()
        self.run, self.calls = run, calls

    @property
    def tracker(self) -> list[tuple[Any, ...]]:
        return self.calls

    def start(self) -> None:
        self.calls.append(("start", self.run))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.calls.append(("settings", values))

    def log(self, values: dict[str, Any], step: int | None = None, **more: Any) -> None:
        if "fails" in values:
            raise OSError("no")
        self.calls.append((step, values))

    def finish(self) -> None:
        self.calls.append(("finish", self.run))


def test_each_run_is_opened_logged_and_finished(done: Path, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []
    run = RunFolder(done)
    fake = Tracker(lambda store, name: FakeTracker(name, calls), lambda store: "look")
    assert write_tracked(run, fake, tmp_path / "out") == "look"
    expected: list[tuple[Any, ...]] = []
    for tracked in tracked_runs(run):
        expected += [("start", tracked.name), ("settings", dict(tracked.settings))]
        expected += [(step, dict(numbers)) for step, numbers in tracked.points.items()]
        expected += [("finish", tracked.name)]
    assert calls == expected


def test_a_run_that_fails_is_finished_and_leaves_no_folder(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    with pytest.raises(OSError, match="no"):
        log_runs([TrackedRun("a", {}, {1: {"fails": 1.0}})], lambda run: FakeTracker(run, calls))
    assert calls[-1] == ("finish", "a")
    closed: list[bool] = []

    def refuses(store: Store, name: str) -> GeneralTracker:
        raise ValueError(store.project)

    broken = Tracker(refuses, lambda store: "", close=lambda: closed.append(True))
    with pytest.raises(ValueError, match="tiny-"):
        write_tracked(RunFolder(done), broken, tmp_path / "out")
    assert (closed, list(tmp_path.iterdir())) == ([True], [])


def test_variables_that_would_send_runs_elsewhere_are_set_aside(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "other")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("DO_NOT_TRACK", "mine")
    seen: list[dict[str, str]] = []

    def opened(store: Store, name: str) -> GeneralTracker:
        seen.append(dict(os.environ))
        return FakeTracker(name, [])

    here = Tracker(opened, lambda store: "", variables=lambda store: {"TRACKIO_DIR": "here"})
    write_tracked(RunFolder(done), here, tmp_path / "out")
    assert not {"MLFLOW_RUN_ID", "WANDB_MODE"} & seen[0].keys()
    assert (seen[0]["TRACKIO_DIR"], seen[0]["DO_NOT_TRACK"]) == ("here", "true")
    assert "TRACKIO_DIR" not in os.environ
    names = ("MLFLOW_RUN_ID", "WANDB_MODE", "DO_NOT_TRACK")
    assert [os.environ[name] for name in names] == ["other", "online", "mine"]


@pytest.mark.parametrize("to", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_missing_extra_is_named(
    to: str, call: Call, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_run, "find_spec", lambda name: None)
    code, _, err = call("export", done, "--to", to, "--out", tmp_path / "out")
    message = f"--to {to}: {to} is not installed; install it with: pip install 'oocr[{to}]'"
    assert (code, message in err) == (2, True), err


def needs(*modules: str) -> None:
    """Skip without importing: trackers read the environment when they are imported."""
    if not all(map(find_spec, modules)):
        pytest.skip(f"needs {modules[0]}: pip install 'oocr[{modules[0]}]'")


def exported(call: Call, done: Path, to: str, out: Path) -> tuple[str, dict[str, TrackedRun]]:
    """Export twice (then it is refused, nothing is added): what is printed, and the runs."""
    code, printed, err = call("export", done, "--to", to, "--out", out)
    assert (code, err) == (0, "")
    files = sorted(out.rglob("*"))
    code, _, err = call("export", done, "--to", to, "--out", out)
    assert (code, "is there already (a folder)" in err) == (2, True)
    assert sorted(out.rglob("*")) == files
    return printed, {run.name: run for run in tracked_runs(RunFolder(done))}


def numbers_of(runs: dict[str, TrackedRun]) -> Numbers:
    return {
        name: {step: dict(values) for step, values in run.points.items()}
        for name, run in runs.items()
    }


def in_records(data: bytes, start: int) -> Iterator[bytes]:
    """The records of an event file (TFRecord)."""
    while start < len(data):
        (size,) = struct.unpack_from("<Q", data, start)
        yield data[start + 12 : start + 12 + size]
        start += size + 16


def test_tensorboard(call: Call, done: Path, tmp_path: Path) -> None:
    if not any(map(find_spec, ("tensorboard", "tensorboardX"))):
        pytest.skip("needs tensorboardX: pip install 'oocr[dev]' (or 'oocr[tensorboard]')")
    event_pb2: Any
    if find_spec("tensorboard"):
        from tensorboard.compat.proto import event_pb2
    else:
        from tensorboardX.proto import event_pb2
    out = tmp_path / "a b"
    printed, runs = exported(call, done, "tensorboard", out)
    assert f"use: tensorboard --logdir '{out}'" in printed
    written: Numbers = {name: {} for name in runs}
    for name, run in runs.items():
        (file,) = (out / name).glob("events.*")
        for record in in_records(file.read_bytes(), 0):
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                number = value.simple_value or sum(value.tensor.float_val)
                written[name].setdefault(event.step, {})[value.tag] = number
        (settings,) = (out / name).glob("*/hparams.yml")
        assert yaml.safe_load(settings.read_text()) == dict(run.settings)
    expected = numbers_of(runs)
    assert written.keys() == expected.keys()
    for name, points in expected.items():
        assert {s: pytest.approx(v, rel=1e-6) for s, v in points.items()} == written[name]


def test_trackio(call: Call, done: Path, tmp_path: Path) -> None:
    needs("trackio")
    out = tmp_path / "out"
    printed, runs = exported(call, done, "trackio", out)
    assert f"use: env TRACKIO_DIR={out} trackio show --project {done.name}" in printed
    (file,) = out.glob("*.db")
    with sqlite3.connect(file) as base:
        written: Numbers = {}
        for name, step, values in base.execute("select run_name, step, metrics from metrics"):
            written.setdefault(name, {})[step] = json.loads(values)
        settings = dict(base.execute("select run_name, config from configs"))
    assert written == numbers_of(runs)
    for name, run in runs.items():
        assert json.loads(settings[name]).items() >= run.settings.items()


def test_mlflow(call: Call, done: Path, tmp_path: Path) -> None:
    needs("mlflow", "sqlalchemy", "alembic")
    out = tmp_path / "out"
    printed, runs = exported(call, done, "mlflow", out)
    assert f"mlflow ui --backend-store-uri sqlite:///{out}/mlflow.db" in printed
    with sqlite3.connect(out / "mlflow.db") as base:
        names = dict(base.execute("select run_uuid, name from runs where status = 'FINISHED'"))
        written: Numbers = {}
        for run, name, step, value in base.execute(
            "select run_uuid, key, step, value from metrics"
        ):
            written.setdefault(names[run], {}).setdefault(step, {})[name] = value
        settings: dict[str, dict[str, str]] = {}
        for run, name, value in base.execute("select run_uuid, key, value from params"):
            settings.setdefault(names[run], {})[name] = value
    assert written == numbers_of(runs)
    for name, tracked in runs.items():
        assert settings[name] == {key: str(value) for key, value in tracked.settings.items()}


def in_blocks(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file (LevelDB's log format, after a header of 7 bytes)."""
    place, parts = 7, b""
    while place < len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb(call: Call, done: Path, tmp_path: Path) -> None:
    needs("wandb")
    from wandb.proto import wandb_internal_pb2

    out = tmp_path / "out"
    printed, runs = exported(call, done, "wandb", out)
    assert f"use: wandb sync {out}/wandb/offline-run-*" in printed
    written: Numbers = {}
    settings: dict[str, dict[str, Any]] = {}
    ids = set()
    for file in out.glob("wandb/offline-run-*/*.wandb"):
        data = file.read_bytes()
        assert str(done.parent).encode() not in data
        points: dict[int, dict[str, float]] = {}
        values: dict[str, Any] = {}
        named = SimpleNamespace(display_name="", run_id="")
        for record in map(wandb_internal_pb2.Record.FromString, in_blocks(data)):
            named = record.run if record.HasField("run") else named
            for given in (*record.run.config.update, *record.config.update):
                name = given.key or "/".join(given.nested_key)
                values[name] = json.loads(given.value_json)
            if record.HasField("history"):
                items = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }
                numbers = {name: x for name, x in items.items() if not name.startswith("_")}
                points[items["_step"]] = numbers
        written[named.display_name], settings[named.display_name] = points, values
        ids.add(named.run_id)
    assert written == numbers_of(runs)
    assert len(ids) == len(runs)
    for name, run in runs.items():
        assert settings[name].items() >= run.settings.items()
