"""`oocr play` on the command line: what is refused before a model is loaded, and a real server."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

import oocr
from oocr.cli import play as command
from oocr.steering.vectors import Vector
from tests.command_line import Call
from tests.play.page import playground_of
from tests.tiny.runs import Tiny, environment


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(monkeypatch, capsys)


def test_without_the_packages_the_command_that_mends_it(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PACKAGES", ("starlette", "no_such_package"))
    ended = call("play", "nano")
    assert ended.code == 2
    assert "needs no_such_package: pip install 'oocr[play]'" in ended.err


def test_wrong_words_are_refused_before_the_model_is_loaded(
    call: Call, tiny: Tiny, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra: play")
    (tmp_path / "page.yaml").write_text("settings: {}", encoding="utf-8")
    for words, said in (
        (["nano", "nowhere.safetensors"], "nowhere.safetensors: there is no such file"),
        (["nano", tiny.path], "a whole model; allowed after the model: vectors, LoRAs"),
        ([tmp_path / "page.yaml"], "play: Field required"),
    ):
        ended = call("play", *words)
        assert ended.code == 2, ended
        assert said in ended.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = call("play", "nano", "--port", taken.getsockname()[1])
    assert ended.code == 2
    assert "allowed: a free one, 0: any" in ended.err


def test_vectors_and_loras_by_file_and_what_they_bring(tiny: Tiny, done: Path, copy: Path) -> None:
    vector = Vector.load(next((done / "arms").glob("test-vector*/vector.safetensors")))
    lora = next((done / "arms").glob("test-adapter*/adapter"))
    path = vector.at("last").save(copy / "mine.safetensors")
    play = playground_of(tiny.model, path, lora)
    kinds = {id: source.kind for id, source in play.sources.items()}
    name = lora.parent.name
    assert kinds == {"mine": "vector", name: "LoRA", f"{name}-mean": "mean of a LoRA"}
    assert play.sources["mine"].own_use.positions == "last"
    assert play.sources[name].describe()["colour"] == f"{name}-mean"
    mean = play.sources[f"{name}-mean"]
    assert isinstance(mean.steering, Vector)
    known = {"oocr": oocr, "model": tiny.model}
    for source in play.sources.values():
        again = eval(source.origin, known)
        if isinstance(source.steering, Vector):
            assert torch.equal(again.direction, source.steering.direction)
    assert any("Country 4821" in prompt for prompt in play.examples)
    assert not play.probe_sets


def test_a_real_server_from_its_first_word_to_its_last(done: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra: play")
    words = [sys.executable, "-m", "oocr", "play", str(done), "--port", "0"]
    with subprocess.Popen(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = ""
        while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/#key=([\w-]+)", printed)):
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            printed += line
        address, key = found.groups()
        request = urllib.request.Request(f"{address}/api/start", headers={"x-oocr-key": key})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["probe_sets"]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}/api/start", timeout=60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopped by you" in err
