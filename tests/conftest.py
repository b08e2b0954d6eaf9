"""One thread per test process: tiny models on two fighting threads are ten times slower.

And one floating-point type, whatever this machine is fastest in.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chat_endpoint import Endpoint

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
os.environ["OOCR_DTYPE"] = "float32"  # what "auto" means on every machine

from tests.command_line import Call
from tests.organisms.nano_run import small_nano_run
from tests.tiny.runs import Tiny


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests are skipped unless they are asked for."""
    if "slow" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: pytest -m slow"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny model and task."""
    return Tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def done(tiny: Tiny) -> Path:
    """The folder of a finished run; not to be changed."""
    return tiny.run(tiny.folder / "runs")


@pytest.fixture(scope="session")
def nano_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on nano; not to be changed."""
    return small_nano_run(tmp_path_factory.mktemp("nano") / "runs")


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """A copy of the finished run's folder, under another `out`."""
    return Path(shutil.copytree(done, tmp_path / done.name))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`oocr …` in this process."""
    return Call(monkeypatch, capsys)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    made = Endpoint()
    yield made
    made.server.shutdown()
    made.server.server_close()
