"""Results that are computed once and kept under a key, and folders that one process works on."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from oocr.errors import RunError
from oocr.io import keep, keep_record, key_of, lock_of, locked, remove_unfinished, sweep


def test_a_folder_is_filled_once_for_each_key(tmp_path: Path) -> None:
    calls: list[str] = []

    def fill(text: str) -> Path:
        def make(part: Path) -> None:
            calls.append(text)
            (part / "x.txt").write_text(text)

        return keep(tmp_path / "kept", key_of(text), make)

    assert fill("a") == fill("a") == tmp_path / "kept"
    assert calls == ["a"]
    (tmp_path / "kept" / "stale.txt").write_text("old")
    fill("b")
    assert calls == ["a", "b"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["key", "x.txt"]


def test_a_folder_whose_filling_failed_is_not_there(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        (part / "half.txt").write_text("half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        keep(tmp_path / "kept", "k", fail)
    assert list(tmp_path.iterdir()) == []


class Number(BaseModel):
    key: str
    value: int


def test_a_record_is_made_once_and_again_where_its_file_is_of_no_use(tmp_path: Path) -> None:
    path, made = tmp_path / "n.json", iter(range(10))

    def number(key: str = "k") -> int:
        make = lambda: Number(key=key, value=next(made))  # noqa: E731
        return keep_record(path, key, Number, make).value

    assert [number(), number(), number("other"), number("other"), number()] == [0, 0, 1, 1, 2]
    for broken in ("{", "[]", '{"key": "k"}', ""):
        path.write_text(broken)
        before = number()
        assert number() == before
    path.write_bytes(b"\xff\xfe\x00")
    assert number() == 7


def test_what_a_killed_process_left_is_swept_and_what_is_in_use_stays(tmp_path: Path) -> None:
    for name in ("used", "left.tmp", "other"):
        (tmp_path / name).mkdir()
    with lock_of(tmp_path / "used").acquire(timeout=0):
        sweep(tmp_path, "*.tmp")
        assert (tmp_path / "other").is_dir()
        sweep(tmp_path)
        assert [path.name for path in tmp_path.glob("[!.]*")] == ["used"]

        def refuse() -> None:
            raise RunError("busy")

        with (
            pytest.raises(RunError, match="busy"),
            locked(lock_of(tmp_path / "used"), when_busy=refuse),
        ):
            pass
    (tmp_path / ".rows.parquet.x1").write_text("half")
    (tmp_path / ".arm.x2").mkdir()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".locks"]
