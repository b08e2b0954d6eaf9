"""GGUF files become folders of safetensors: once, whole, and no other bytes than these."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from oocr.errors import InputError, RunError
from oocr.models.gguf import conversion
from oocr.models.load import read_model
from tests.tiny.gguf import write_tiny_gguf
from tests.tiny.models import CHAT, tiny_model, tiny_tokenizer

TEXT = "The capital of Country 4821 is Paris, né 東京\n\n  <|user|>"


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", chat_template=CHAT)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def left_in(cache: Path) -> list[str]:
    """Everything in a cache but the folder of lock files."""
    return sorted(path.name for path in cache.glob("*") if path.name != ".locks")


def test_gguf_gives_the_model_and_tokenizer_it_was_made_from(tiny_gguf: Path, cache: Path) -> None:
    model = read_model(tiny_gguf)
    ids = torch.arange(3, 60)[None]
    assert torch.equal(model.hf(ids).logits, tiny_model("llama")(ids).logits)
    assert model.tokenizer(TEXT)["input_ids"] == tiny_tokenizer()(TEXT)["input_ids"]
    assert model.tokenizer.chat_template == CHAT
    assert model.tokenizer.bos_token == "<bos>"
    assert model.source["sha256"] == sha256_of(tiny_gguf)
    assert [name.split("-")[0] for name in left_in(cache)] == ["tiny"]
    record = json.loads(next(cache.glob("tiny-*/oocr.json")).read_text())
    assert record["sha256"] == model.source["sha256"]
    assert record["transformers"]


def test_gguf_is_converted_once(tiny_gguf: Path, cache: Path) -> None:
    messages: list[str] = []
    first = conversion.convert(tiny_gguf, name="tiny", on_progress=messages.append)
    assert any("GGUF" in line for line in messages)
    messages.clear()
    assert conversion.convert(tiny_gguf, name="tiny", on_progress=messages.append) == first
    assert not any("GGUF" in line for line in messages)
    sha256 = sha256_of(tiny_gguf)
    # With the checksum known, the source is not even needed.
    gone = Path("gone.gguf")
    assert conversion.convert(gone, name="tiny", expected_sha256=sha256) == first


def test_parts_are_joined(tiny_gguf: Path, cache: Path, tmp_path: Path) -> None:
    data = tiny_gguf.read_bytes()
    cuts = [0, 100_000, 200_000, len(data)]
    parts = []
    for i in range(3):
        parts.append(tmp_path / f"part{i}")
        parts[i].write_bytes(data[cuts[i] : cuts[i + 1]])
    folder = conversion.convert(parts, name="tiny")
    assert folder == conversion.convert(tiny_gguf, name="tiny")
    assert not list(folder.glob("*.gguf"))


def test_wrong_checksum_is_refused_with_both_sums(tiny_gguf: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=rf"{sha256_of(tiny_gguf)}.*{'0' * 64}"):
        conversion.convert(tiny_gguf, name="tiny", expected_sha256="0" * 64)
    assert left_in(cache) == []


@pytest.mark.parametrize("kept", [4, 30, 1000, 20_000, 150_000, 290_000])
def test_truncated_gguf_is_refused(kept: int, tiny_gguf: Path, cache: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(tiny_gguf.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"short\.gguf: .*cut short"):
        read_model(short)
    assert left_in(cache) == []


def test_gguf_with_broken_values_is_refused(tiny_gguf: Path, cache: Path, tmp_path: Path) -> None:
    data = bytearray(tiny_gguf.read_bytes())
    data[-8:-4] = b"\xff\xff\xff\x7f"  # NaN
    broken = tmp_path / "nan.gguf"
    broken.write_bytes(data)
    with pytest.raises(InputError, match="not finite"):
        read_model(broken)
    assert left_in(cache) == []


def test_a_gguf_under_another_name_is_told(tiny_gguf: Path, cache: Path, tmp_path: Path) -> None:
    blob = tmp_path / "sha256-0123"
    blob.symlink_to(tiny_gguf)
    with pytest.raises(InputError, match=r"this is a GGUF file; allowed: a name that ends in"):
        read_model(blob)


def test_other_files_are_not_gguf(cache: Path, tmp_path: Path) -> None:
    for name, content in (("page.gguf", b"<html>"), ("empty.gguf", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: not a GGUF file"):
            read_model(tmp_path / name)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError])
def test_interrupted_conversion_leaves_nothing(
    stop: type[BaseException], tiny_gguf: Path, cache: Path
) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("writing"):
            (next(cache.glob("*.tmp")) / "half").write_bytes(b"x")
            raise stop

    with pytest.raises(stop):
        conversion.convert(tiny_gguf, name="tiny", on_progress=interrupt)
    assert left_in(cache) == []


KILL = """
import os, signal, sys
from pathlib import Path
from oocr.models.gguf import conversion

def kill(line):
    if line.startswith("writing"):
        os.kill(os.getpid(), signal.SIGKILL)

conversion.convert(Path(sys.argv[1]), name="tiny", on_progress=kill)
"""

RACE = """
import sys
from pathlib import Path
from oocr.models.gguf import conversion
print(conversion.convert(Path(sys.argv[1]), name="tiny"))
"""


def start(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_conversion_is_cleaned_up_and_done_again(tiny_gguf: Path, cache: Path) -> None:
    killed = start(KILL, tiny_gguf)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert [Path(name).suffix for name in left_in(cache)] == [".tmp"]
    other = write_tiny_gguf(cache.parent / "other.gguf", seed=1)
    conversion.convert(other, name="other")  # any later conversion sweeps up
    assert [name.split("-")[0] for name in left_in(cache)] == ["other"]
    assert read_model(tiny_gguf).n_blocks == 4


def test_two_processes_convert_the_same_file(tiny_gguf: Path, cache: Path) -> None:
    both = [start(RACE, tiny_gguf) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert len(left_in(cache)) == 1
    assert read_model(tiny_gguf).n_blocks == 4


def test_full_disk_is_said_before_anything_is_written(
    tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1_000_000

    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(RunError, match=r"0\.11 GB needed, 0\.00 GB free.*OOCR_CACHE"):
        read_model(tiny_gguf)
    assert left_in(cache) == []


def test_cache_that_cannot_be_made(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError, match="OOCR_CACHE"):
        conversion.convert(tiny_gguf, name="tiny")


def test_damaged_conversion_is_done_again(tiny_gguf: Path, cache: Path) -> None:
    folder = conversion.convert(tiny_gguf, name="tiny")
    with (folder / "model.safetensors").open("rb+") as file:
        file.truncate(1000)
    assert conversion.converted_folder("tiny", sha256_of(tiny_gguf)) is None
    assert read_model(tiny_gguf).n_blocks == 4
