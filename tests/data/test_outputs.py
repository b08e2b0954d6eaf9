"""What is to be written is checked before work: nothing is lost, and nothing is written yet."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from oocr.errors import InputError, RunError
from oocr.io import command_line, disk_errors, new_folder, write_text
from oocr.output_checks import check_output, folder_bytes


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_new_place_is_taken_and_nothing_is_left_there(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b" / "v.gguf")
    check_output(tmp_path / "runs" / "x", folder=True)
    check_output(tmp_path, folder=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["s3://bucket/runs", "gs://b", "memory://x", "file:///tmp/x"])
def test_an_address_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()  # as an earlier version left it
    with pytest.raises(InputError, match=r"^--out \w+://.*: an address; allowed: a folder .* NFS"):
        check_output(Path(address), folder=True)
    check_output(tmp_path / "a: b" / "x:", folder=True)


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_there_is_refused(tmp_path: Path, folder: bool) -> None:
    file, link = write_text(tmp_path / "model.gguf", "weights"), tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"^--out .*model.gguf: is there already \(a file\)"):
        check_output(file, folder=folder)
    with pytest.raises(InputError, match=r"is there already \(a link to .*gone, which is not th"):
        check_output(link, folder=folder)
    with pytest.raises(InputError, match=r"cannot be written: .*model.gguf is a file"):
        check_output(file / "x", folder=folder)
    assert file.read_text() == "weights"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--to .*: is there already \(a folder\)"):
        check_output(tmp_path, option="--to")


def test_an_input_is_known_in_every_spelling(tmp_path: Path) -> None:
    file = write_text(tmp_path / "v.safetensors", "vector")
    (tmp_path / "soft").symlink_to(file)
    (tmp_path / "hard").hardlink_to(file)
    (tmp_path / "sub").mkdir()
    for other in (file, tmp_path / "soft", tmp_path / "hard", tmp_path / "sub" / ".." / file.name):
        with pytest.raises(InputError, match="this is what is read"):
            check_output(other, inputs=["nano", file])
    with pytest.raises(InputError, match="this is what is read"):
        check_output(tmp_path / "sub" / "..", folder=True, inputs=[tmp_path])


def test_names_that_are_too_long_are_refused(tmp_path: Path) -> None:
    long = "ü" * 128
    for path in (tmp_path / long, tmp_path / "new" / long / "v.gguf"):
        with pytest.raises(InputError, match="a name of 256 bytes; allowed: 255 bytes"):
            check_output(path)
    longest = tmp_path / ("灯" * 85)
    check_output(longest)
    assert write_text(longest, "x").read_text() == "x"
    with new_folder(longest.with_name("灯" * 84)) as part:
        write_text(part / "x", "x")


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(InputError, match=r"--out .*: cannot be written: Permission denied$"):
        check_output(tmp_path / "new" / "x")


def test_too_little_room_is_refused_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 5 * 10**6))
    with pytest.raises(InputError, match="about 16 MB are needed, 5 MB are free there"):
        check_output(tmp_path / "x")
    check_output(tmp_path / "x", needs=5 * 10**6)


def test_the_outermost_place_is_named_by_an_error_of_the_disk(tmp_path: Path) -> None:
    """A file's temporary folder is gone by then."""
    target = tmp_path / "arms" / "one"
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(RunError, match=rf"{target} was not written; what was written stays in "),
        new_folder(target) as part,
        disk_errors(part / "rows.parquet"),
    ):
        raise full


def test_sizes_are_of_all_files(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b", "123")
    write_text(tmp_path / "c", "45")
    assert (folder_bytes(tmp_path), folder_bytes(tmp_path / "gone")) == (5, 0)


@pytest.mark.parametrize(
    "name", ["a b", "Kärlek & lampor [bold] 灯", "it's", 'say "x"', r"C:\Users\a b\v.pt", "$A;ls"]
)
def test_a_printed_command_is_the_same_words_in_a_shell(name: str) -> None:
    words = ["oocr", "run", Path(name) / "config.yaml"]
    assert shlex.split(command_line(words)) == list(map(os.fspath, words))


def test_on_windows_words_are_quoted_as_its_shells_read_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("oocr.io.os.name", "nt")
    text = command_line(["oocr", "run", r"C:\Users\a b\mine.yaml", "plain"])
    monkeypatch.undo()
    assert text == r'oocr run "C:\Users\a b\mine.yaml" plain'
