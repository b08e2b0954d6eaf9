"""Many finished arms are read from one index, which says what the folders say, or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from oocr.runs import arm_index, stages
from oocr.runs.arm_index import ENTRIES, INDEX, ArmIndex
from oocr.runs.arms import ScoredArm
from oocr.runs.folder import read_table
from tests.killed import made
from tests.tiny.runs import Tiny, arms_of, claims_of, rows_of


def test_a_large_run_is_read_from_its_index_until_a_folder_changes(
    tiny: Tiny, done: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.run(copy.parent)
    assert not (copy / INDEX).exists(), "the folders of a small run are read one by one"
    monkeypatch.setattr(arm_index, "MANY", 1)
    tiny.run(copy.parent)
    before = made(copy)
    read: list[str] = []
    run_arms = stages.run_arms

    def reading(*given: object, plans: list[object], folder: Path) -> object:
        read.extend(plan.id for plan in plans)  # type: ignore[attr-defined]
        return run_arms(*given, plans=plans, folder=folder)  # type: ignore[arg-type]

    monkeypatch.setattr(stages, "run_arms", reading)
    tiny.run(copy.parent)
    assert read == []
    assert rows_of(copy).equals(rows_of(done))
    assert claims_of(copy) == claims_of(done)
    gone = next(arm.id for arm in arms_of(copy) if arm.role == "test")
    shutil.rmtree(copy / "arms" / gone)
    tiny.run(copy.parent)
    assert gone in read
    assert len(read) < len(arms_of(copy)), "only it, and those that are trained beside it"
    assert {name for name, when in made(copy).items() if before[name] != when} == {gone}
    assert rows_of(copy).equals(rows_of(done))
    read.clear()
    tiny.run(copy.parent)
    assert read == [], "the new index has it"
    (copy / INDEX / ENTRIES).write_bytes(b"PAR1 nonsense")
    tiny.run(copy.parent)
    assert {arm.id for arm in arms_of(copy)} == set(read)
    assert rows_of(copy).equals(rows_of(done))


def test_an_arm_is_found_under_its_key_only(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_index, "MANY", 1)
    folder = copy / "arms"
    arms = [ScoredArm(arm, read_table(folder / arm.id / "rows.parquet")) for arm in arms_of(copy)]
    ArmIndex(folder).save(arms)
    index = ArmIndex(folder)
    names, keys = [arm.record.id for arm in arms], [arm.record.key for arm in arms]
    found = index.find(names, keys)
    assert found is not None
    for arm, kept in zip(arms, found, strict=True):
        assert kept.record == arm.record
        assert_frame_equal(kept.rows, arm.rows)
    assert index.find(names[:2], [keys[0], "another"]) is None
    (folder / names[0] / "more").touch()
    assert ArmIndex(folder).find(names[:1], keys[:1]) is None
