"""A run that is done again, broken off, or finds broken files: nothing computed is lost."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oocr.errors import InputError, RunError
from oocr.runs.folder import RunFolder, exclusive_lock, kept_seconds
from oocr.runs.progress import ProgressReport
from tests.tiny.runs import Tiny, arms_of, claims_of, rows_of, write_task


def made(folder: Path) -> dict[str, int]:
    """When the folder of each arm was made."""
    return {item.name: item.stat().st_mtime_ns for item in (folder / "arms").iterdir()}


def redo(tiny: Tiny, folder: Path) -> dict[str, int]:
    """Run again in a copied folder; which arm folders were made anew."""
    before = made(folder)
    assert tiny.run(folder.parent) == folder
    return {name: when for name, when in made(folder).items() if before.get(name) != when}


def test_a_finished_run_is_not_done_again(tiny: Tiny, done: Path, copy: Path) -> None:
    assert redo(tiny, copy) == {}
    assert rows_of(copy).equals(rows_of(done))
    assert claims_of(copy) == claims_of(done)


def test_a_run_in_parts_knows_how_long_all_of_it_took(tiny: Tiny, copy: Path) -> None:
    first = RunFolder(copy).info.stages
    assert json.loads((copy / "seconds.json").read_text()).keys() >= first.keys()
    (copy / "seconds.json").write_text(json.dumps(dict.fromkeys(first, 1000)))
    redo(tiny, copy)
    assert all(seconds >= 1000 for seconds in RunFolder(copy).info.stages.values())


def test_the_seconds_of_all_parts_are_added_up(tmp_path: Path) -> None:
    def part(seconds: dict[str, float], stage: str) -> None:
        with kept_seconds(tmp_path, seconds):
            seconds[stage] = seconds.get(stage, 0.0) + 5.0
            if stage == "explaining":
                raise RunError("interrupted")

    part({}, "training")
    with pytest.raises(RunError, match="interrupted"):
        part({}, "explaining")
    seconds: dict[str, float] = {}
    part(seconds, "training")
    assert seconds == {"training": 10.0, "explaining": 5.0}
    (tmp_path / "seconds.json").write_text("[half")
    anew: dict[str, float] = {}
    part(anew, "training")
    assert anew == {"training": 5.0}


def test_an_arm_that_is_gone_or_only_half_there_is_done_again(
    tiny: Tiny, done: Path, copy: Path
) -> None:
    gone, half = [item for item in arms_of(copy) if item.role == "test"][:2]
    shutil.rmtree(copy / "arms" / gone.id)
    (copy / "arms" / half.id / "key").unlink()
    (copy / "arms" / ".leftover.x1").mkdir()
    (copy / "arms" / ".leftover.x1" / "rows.parquet").write_text("half")
    (copy / ".rows.parquet.x2").write_text("half")
    assert set(redo(tiny, copy)) == {gone.id, half.id}
    assert rows_of(copy).equals(rows_of(done))
    assert not list(copy.rglob(".*.x?"))


class Listening(ProgressReport):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_only_what_depends_on_changed_data_is_done_again(tiny: Tiny, tmp_path: Path) -> None:
    task = write_task(tmp_path / "task")
    config = tiny.config(task=task, seeds=1, explain={"enabled": False})
    folder = tiny.run(tmp_path / "runs", config)
    probes = Path(task["probes"])
    probes.write_text(probes.read_text().replace("Do language in", "How language in"))
    before = {item.id: item for item in arms_of(folder)}
    said = Listening()
    tiny.run(tmp_path / "runs", config, progress=said)
    assert said.notes[0].startswith("probes.jsonl changed since this run was done: results that")
    for arm in arms_of(folder):
        assert (arm.key == before[arm.id].key) is (arm.role == "selection")
    base = rows_of(folder).filter(arm="base")
    assert base.filter(group="language How language in").height == 1
    assert base.height == 7
    again = Listening()
    tiny.run(tmp_path / "runs", config, progress=again)
    assert again.notes == []


def break_file(path: Path) -> None:
    path.write_bytes(b"PAR1 nonsense")


@pytest.mark.parametrize(
    ("inside", "role", "hurt"),
    [
        ("rows.parquet", "selection", break_file),
        ("rows.parquet", "test", break_file),
        ("rows.parquet", "test", Path.unlink),
        ("arm.json", "test", break_file),
        ("vector.safetensors", "test", break_file),
        ("vector.safetensors", "test", Path.unlink),
    ],
)
def test_an_unreadable_file_of_an_arm_is_named_with_the_way_out(
    tiny: Tiny, done: Path, copy: Path, inside: str, role: str, hurt: Callable[[Path], None]
) -> None:
    arm = next(a for a in arms_of(copy) if (a.role, a.method) == (role, "vector"))
    target = copy / "arms" / arm.id
    hurt(target / inside)
    with pytest.raises(RunError, match=f"delete .*{arm.id} and run again") as caught:
        tiny.run(copy.parent)
    assert inside in str(caught.value)
    shutil.rmtree(target)
    assert set(redo(tiny, copy)) == {arm.id}
    assert rows_of(copy).equals(rows_of(done))


@pytest.mark.parametrize("name", ["rows", "constancy", "tokens"])
def test_an_unreadable_file_of_an_explanation_is_named(tiny: Tiny, copy: Path, name: str) -> None:
    path = next((copy / "arms").glob(f"*-s0-explained/{name}.parquet"))
    break_file(path)
    with pytest.raises(RunError, match=rf"{name}\.parquet cannot be read .*; delete .*explained"):
        tiny.run(copy.parent)
    shutil.rmtree(path.parent)
    assert set(redo(tiny, copy)) == {path.parent.name}


def test_unreadable_claims_are_named(copy: Path) -> None:
    (copy / "claims.json").write_text("[{}]")
    with pytest.raises(InputError, match=r"claims\.json, field id: .*do the run again"):
        assert RunFolder(copy).claims


def test_a_full_disk_is_told_and_what_was_computed_stays(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pl.DataFrame.write_parquet
    count = 0

    def full(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*args, **kwargs)

    with monkeypatch.context() as context:
        context.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(RunError, match=r"the disk is full: .* was not written; what was wr"):
            tiny.run(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert len(arms_of(folder)) == 5
    before = {item.name for item in (folder / "arms").iterdir()}
    assert not any(name.startswith(".") for name in before), "nothing half-written stays"
    assert not set(redo(tiny, folder)) & before


class Interrupting(ProgressReport):
    """Ctrl-C after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, what: str = "") -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 13, 17])
def test_after_an_interruption_the_same_numbers_come_out(
    tiny: Tiny, done: Path, tmp_path: Path, after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tiny.run(tmp_path, progress=Interrupting(after))
    folder = tmp_path / done.name
    before = {item.name for item in (folder / "arms").iterdir()}
    assert len(before) >= after, "every finished step is kept"
    assert not set(redo(tiny, folder)) & before
    assert rows_of(folder).equals(rows_of(done))
    assert claims_of(folder) == claims_of(done)


def test_two_processes_on_one_run_are_refused(tiny: Tiny, copy: Path) -> None:
    with (
        exclusive_lock(copy),
        pytest.raises(RunError, match=f"another process is at work on .*{copy}"),
    ):
        tiny.run(copy.parent)
    assert redo(tiny, copy) == {}


def test_claims_name_the_command_that_redoes_them(tiny: Tiny, done: Path) -> None:
    commands = {item["command"] for item in json.loads((done / "claims.json").read_text())}
    assert commands == {f"oocr run {done / 'config.yaml'}"}
