"""A reader never sees half a file, and the disk's refusals come in plain words."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from oocr.errors import InputError, RunError
from oocr.io import (
    disk_errors,
    new_folder,
    write_atomic,
    write_json,
    write_tensors,
    write_text,
)
from oocr.lfs import is_lfs_pointer, refuse_lfs_pointer

FULL = "the disk is full: .*out.*; what was written stays"


def test_text_json_tensors_and_tables_are_written_into_new_folders(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert write_text(folder / "t.txt", "é\n").read_text(encoding="utf-8") == "é\n"
    assert write_json(folder / "j.json", {"b": 1, "a": [1.5]}).read_text() == (
        '{\n "a": [\n  1.5\n ],\n "b": 1\n}\n'
    )
    path = write_tensors(folder / "x.safetensors", {"v": torch.arange(3.0)}, {"k": "v"})
    assert torch.equal(load_file(path)["v"], torch.arange(3.0))
    frame = pl.DataFrame({"a": [1, 2]})
    path = write_atomic(folder / "rows.parquet", frame.write_parquet)
    assert pl.read_parquet(path).equals(frame)
    assert sorted(path.name for path in folder.iterdir()) == [
        "j.json",
        "rows.parquet",
        "t.txt",
        "x.safetensors",
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    path = write_text(tmp_path / "out.txt", "old")

    def write(part: Path) -> None:
        part.write_text("new, but only ha")
        raise error

    with pytest.raises(type(error)):
        write_atomic(path, write)
    with pytest.raises(type(error)):
        write_atomic(tmp_path / "other.txt", write)
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert path.read_text() == "old"


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = write_text(tmp_path / "out.txt", "old")
    seen = []

    def write(part: Path) -> None:
        part.write_text("new")
        seen.append(path.read_text())
        assert part.parent == path.parent, "else moving it is not atomic"
        assert part.name.startswith("."), "no glob for results finds it"

    write_atomic(path, write)
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "out.txt", []
    sync = os.fsync

    def fsync(handle: int) -> None:
        seen.append((os.fstat(handle).st_size, path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(path, "12345")
    assert seen == [(5, False)]


def test_a_killed_writer_leaves_no_half_file(tmp_path: Path) -> None:
    code = """
        import pathlib, sys, time
        from oocr.io import write_atomic
        def write(part):
            part.write_text("half")
            print("ready", flush=True)
            time.sleep(60)
        write_atomic(pathlib.Path(sys.argv[1]), write)
    """
    path = write_text(tmp_path / "out.txt", "old")
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left (os error 28)"),
        pl.exceptions.ComputeError("parquet: underlying IO error: No space left (os error 28)"),
    ],
)
def test_a_full_disk_is_said_so_and_leaves_nothing_behind(tmp_path: Path, error: Exception) -> None:
    def write(part: Path) -> None:
        part.write_text("some")
        raise error

    with pytest.raises(RunError, match=FULL):
        write_atomic(tmp_path / "out.txt", write)
    with pytest.raises(RunError, match=FULL), new_folder(tmp_path / "out") as folder:
        write(folder / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_tensor_library_puts_the_error_number_into_its_text(tmp_path: Path) -> None:
    """What `disk_errors` reads; the library raises a type of its own."""
    with pytest.raises(SafetensorError, match=rf"\(os error {errno.ENOENT}\)"):
        save_file({"a": torch.zeros(2)}, tmp_path / "gone" / "x")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, code: int) -> None:
    def write(part: Path) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(RunError, match=f"out.txt cannot be written: {os.strerror(code)}"):
        write_atomic(tmp_path / "out.txt", write)


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), disk_errors(tmp_path):
        raise ValueError("mine")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "y")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_refuses_what_json_has_no_word_for(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": value})
    assert list(tmp_path.iterdir()) == []


def fill(path: Path, error: BaseException) -> None:
    with new_folder(path) as folder:
        (folder / "a").write_text("1")
        raise error


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with new_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    for error in (RuntimeError("stop"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fill(tmp_path / "deep" / "two", error)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_folder_that_holds_something_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_text(tmp_path / "out" / "precious", "1")
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("2")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["precious"]


def test_a_git_lfs_pointer_is_told_with_the_way_to_get_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n")
    with pytest.raises(InputError, match=r"Git LFS pointer.*git lfs pull"):
        refuse_lfs_pointer(path)
    for data in (b"", b"version: 1\n", b"\x80\x02"):
        path.write_bytes(data)
        assert not is_lfs_pointer(path)
        refuse_lfs_pointer(path)
    assert not is_lfs_pointer(tmp_path)
    assert not is_lfs_pointer(tmp_path / "gone")
