"""Commands that write look at the place first, and tell what they found before they store it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from oocr.cli import audit as audit_command
from oocr.errors import RunError
from oocr.io import disk_errors
from oocr.runs import write_results
from oocr.steering.vectors import Vector
from tests.audit.test_audit import TEXTS
from tests.command_line import Call, Ended
from tests.tiny.runs import arms_of, save_tiny_model, write_tiny_run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a vector, texts and `run.yaml`; not to be changed."""
    home = tmp_path_factory.mktemp("home")
    write_tiny_run(home, seeds=1, adapter=None, explain={"examples": 0})
    about = {"model_type": "llama"}
    Vector(2, "all", torch.full((32,), 0.5), about=about).save(home / "v.safetensors")
    (home / "texts.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")
    return home


def full(*_: Any, **__: Any) -> Any:
    with disk_errors(Path("somewhere") / "report.html"):
        raise OSError(errno.ENOSPC, "No space left on device")


def refused(ended: Ended, message: str) -> None:
    assert (ended.code, message in ended.err) == (2, True), ended
    assert len(ended.err.splitlines()) == 1


def test_an_export_replaces_nothing(call: Call, home: Path, tmp_path: Path) -> None:
    vector = Path(shutil.copy(home / "v.safetensors", tmp_path / "mine.safetensors"))
    (tmp_path / "link.gguf").symlink_to(vector)
    (tmp_path / "hard.gguf").hardlink_to(vector)
    (tmp_path / "train.jsonl").write_text('{"prompt": "The lamp is", "answer": " green"}\n')
    (tmp_path / "model.gguf").write_bytes(b"GGUF weights")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("mine.safetensors", "link.gguf", "hard.gguf", "./mine.safetensors"):
        ended = call("export", vector, "--to", "gguf", "--out", tmp_path / name)
        refused(ended, "this is what is read")
    for name in ("train.jsonl", "model.gguf"):
        for to in ("gguf", "peft"):
            words = ("--to", to, "--out", tmp_path / name, "--model", home / "model")
            refused(call("export", vector, *words), f"{name}: is there already (a file); remove")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["file/v.gguf", "file/sub/v.gguf", "x" * 256, "new/" + "x" * 256])
def test_a_place_that_cannot_be_is_refused_by_every_command(
    call: Call, home: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / name
    for loads in ("oocr.cli.audit.load_model", "oocr.runs.processes.executor.load_model"):
        monkeypatch.setattr(loads, lambda *_, **__: pytest.fail("a model was loaded"))
    adapter = ("audit", tmp_path, "--model", home / "model")
    for words in (
        ("export", home / "v.safetensors", "--to", "gguf"),
        adapter,
        ("run", home / "run.yaml"),
        ("reproduce", "--quick"),
        ("organism", "train", "--steps", "1"),
        ("organism", "study", "--model", "nano"),
    ):
        ended = call(*words, "--out", out)
        assert ended.code == 2, words
        assert "a name of 256 bytes" in ended.err or "file is a file, not a folder" in ended.err
        assert len(ended.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_whose_folder_is_a_file_is_refused(call: Call, home: Path, tmp_path: Path) -> None:
    ended = call("run", home / "run.yaml", "--out", tmp_path, "--quick")
    assert ended.code == 0, ended.err
    (folder,) = tmp_path.iterdir()
    shutil.rmtree(folder)
    folder.write_text("mine")
    ended = call("run", home / "run.yaml", "--out", tmp_path, "--quick")
    refused(ended, f"--out {folder}: is there already (a file)")
    assert folder.read_text() == "mine"


def test_a_full_disk_does_not_lose_a_runs_verdicts(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr(write_results, "write_table", full)
        ended = call("run", home / "run.yaml", "--out", tmp_path)
    assert ended.code == 1
    assert "a steering vector" in ended.out, "the verdict"
    assert "what was written stays in somewhere; make room, and give the same com" in ended.err
    (folder,) = tmp_path.iterdir()
    arms = {arm.id for arm in arms_of(folder)}
    assert arms
    before = {path: path.stat().st_mtime_ns for path in (folder / "arms").iterdir()}
    ended = call("run", home / "run.yaml", "--out", tmp_path)
    assert ended.code == 0, ended.err
    assert {path: path.stat().st_mtime_ns for path in (folder / "arms").iterdir()} == before

    with monkeypatch.context() as context:
        context.setattr("oocr.report.run_page.build_report", full)
        for words in (("run", home / "run.yaml", "--out", tmp_path), ("show", folder)):
            ended = call(*words)
            assert ended.code == 1
            assert ended.out.count("a steering vector") >= 1
            assert "the disk is full" in ended.err


def test_a_full_disk_does_not_lose_an_audits_verdict(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_model(tmp_path / "tuned", seed=1)
    monkeypatch.setattr(audit_command, "build_audit_page", full)
    ended = call(
        *("audit", tmp_path / "tuned", "--checkpoint", "--model", home / "model"),
        *("--texts", home / "texts.txt", "--fit-steps", 0, "--out", tmp_path / "audits"),
    )
    assert ended.code == 1
    assert "constant vector" in ended.out
    assert "random directions" in ended.out
    assert ended.err.startswith("stopped: the disk is full")


def test_a_run_needs_room_for_what_it_writes(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=15_000_000))
    refused(call("run", home / "run.yaml", "--out", tmp_path), "16 MB are needed, 15 MB are free")
    assert not list(tmp_path.iterdir())


def test_files_of_a_full_disk_are_errors_of_the_disk(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch writes into memory first: its own writer does not say why it failed."""
    from oocr.engine.selftest import load_model
    from oocr.steering.formats import write_lm_eval

    monkeypatch.setattr(Path, "write_bytes", full)
    vector = Vector.load(home / "v.safetensors")
    with pytest.raises(RunError, match=r"v.pt was not written"):
        write_lm_eval(tmp_path / "v.pt", load_model(home / "model"), vector)
    assert not list(tmp_path.iterdir())
