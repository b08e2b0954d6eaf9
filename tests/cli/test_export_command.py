"""`oocr vector` and `oocr export`: what they print and write, and how they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from oocr.errors import InputError
from oocr.steering.formats import read_gguf, write_gguf
from oocr.steering.formats.gguf_lora import read_gguf_lora
from oocr.steering.vectors import Vector
from tests.command_line import Call
from tests.tiny.gguf import write_header, write_tiny_gguf
from tests.tiny.runs import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("home") / "model")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    about = {"model": "tiny-[b]llama", "model_type": "llama", "seed": "3"}
    vector = Vector(
        2, "all", torch.full((32,), 0.5), spans={"codename": "Country 4821"}, about=about
    )
    return vector.save(tmp_path / "v.safetensors")


def test_a_vectors_file_is_described(call: Call, file: Path) -> None:
    code, out, _ = call("vector", file)
    assert code == 0
    title, *lines = out.splitlines()
    assert title == f"{file}: vector, of this library"
    assert dict(re.split("  +", line.strip(), maxsplit=1) for line in lines) == {
        "site": "block output",
        "layer": "2",
        "positions": "all",
        "span codename": "'Country 4821'",
        "width": "32",
        "norm": "2.828",
        "model": "tiny-[b]llama",
        "model_type": "llama",
        "seed": "3",
    }


def test_each_direction_has_its_norm(call: Call, tmp_path: Path) -> None:
    rows = torch.stack([torch.ones(16), torch.full((16,), 2.0)])
    joined = Vector(1, "a+b", rows, site="mlp").save(tmp_path / "v.safetensors")
    out = call("vector", joined)[1]
    for line in ("site       mlp output", "layer      1", "positions  a+b", "norm       4, 8"):
        assert f"\n  {line}\n" in out
    many = write_gguf(
        tmp_path / "v.gguf", [Vector(n, "all", torch.ones(4) * n) for n in (3, 1)], hint="llama"
    )
    out = call("vector", many)[1]
    for line in ("layer      1, 3", "norm       2, 6", "model_type  llama"):
        assert f"\n  {line}\n" in out


def test_a_vector_is_held_against_a_model(call: Call, file: Path, model: Path) -> None:
    code, out, _ = call("vector", file, "--model", model)
    assert code == 0
    assert f"warning: the vector was made on tiny-[b]llama, this is {model}" in out
    assert f"it fits {model}" in out
    vector = Vector(2, "all", torch.ones(32)).save(file.parent / "own.safetensors")
    _, out, _ = call("vector", vector, "--model", model)
    assert ("warning" in out, f"it fits {model}" in out) == (False, True)
    narrow = Vector(2, "all", torch.ones(8)).save(file.parent / "narrow.safetensors")
    code, _, err = call("vector", narrow, "--model", model)
    assert (code, "width 8" in err) == (2, True)


def test_every_form_of_a_vectors_file_is_told_by_both_commands(
    call: Call, file: Path, model: Path, tmp_path: Path
) -> None:
    gguf = write_gguf(tmp_path / "v.gguf", [Vector(3, "all", torch.ones(4))], hint="llama")
    bare = tmp_path / "vector_risk_layer_3_rank_1.pt"
    torch.save(torch.ones(32), bare)
    for path, layer in ((file, 2), (gguf, 3), (bare, 3)):
        code, out, err = call("read", path)
        assert (code, err) == (0, "")
        assert re.search(rf"layer +{layer}", out)
        assert call("vector", path)[0] == 0
    assert "GGUF control vector" in call("read", gguf)[1]
    code, out, _ = call("vector", bare, "--model", model)
    assert code == 0
    assert "norm       5.657" in out
    assert "not said   positions" in out
    assert f"it fits {model}" in out
    torch.save(torch.ones(7), bare)
    code, _, err = call("vector", bare, "--model", model)
    assert code == 2
    assert "width 7" in err
    broken = tmp_path / "model.gguf"
    broken.write_bytes(b"GGUF")
    for verb in ("read", "vector"):
        code, _, err = call(verb, broken)
        assert code == 2
        assert "not a readable GGUF file" in err


def test_a_models_gguf_is_told_and_is_no_vector(call: Call, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", chat_template="{{ x }}")
    code, out, _ = call("read", path)
    assert code == 0
    for words in (
        "a model in GGUF (llama)",
        "F32 (39)",
        "blocks     4",
        "gpt2, gpt-2, 512 tokens",
        "{{ x }}",
    ):
        assert words in out, out
    code, _, err = call("vector", path)
    assert (code, "this is a model in GGUF (llama), not a vector" in err) == (2, True)


def test_a_lora_in_gguf_is_told(call: Call, tmp_path: Path) -> None:
    pair = {f"blk.0.ffn_down.weight.lora_{part}": np.ones((2, 2), np.float32) for part in "ab"}
    fields = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 8.0}
    path = write_header(tmp_path / "lora.gguf", "llama", fields, pair)
    code, out, _ = call("read", path)
    assert (code, "LoRA, in GGUF (llama)" in out, "8 (in the file)" in out) == (0, True, True)


def test_a_llamas_lora_in_gguf_is_told_without_its_base(call: Call, tmp_path: Path) -> None:
    pair = {f"blk.1.attn_q.weight.lora_{part}": np.ones((2, 2), np.float32) for part in "ab"}
    fields = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 8.0}
    path = write_header(tmp_path / "lora.gguf", "llama", fields, pair)
    code, out, err = call("read", path)
    assert (code, err) == (0, "")
    assert "its base is needed to use it" in out
    with pytest.raises(InputError, match="rotary order"):
        read_gguf_lora(path)


def test_a_bare_vector_is_exported_by_options(call: Call, model: Path, tmp_path: Path) -> None:
    bare, out = tmp_path / "mine.pt", tmp_path / "v.gguf"
    torch.save(torch.ones(32), bare)
    words = ("export", bare, "--to", "gguf", "--out", out, "--model", model)
    code, _, err = call(*words)
    assert (code, "give --layer --site --positions" in err) == (2, True)
    code, _, err = call(*words, "--layer", "2", "--site", "nowhere", "--everywhere")
    assert (code, "--site nowhere: allowed: block, mlp" in err) == (2, True)
    code, _, err = call(*words, "--layer", "x", "--site", "block", "--everywhere")
    assert (code, "--layer: 'x' is not a block" in err) == (2, True)
    assert call(*words, "--layer", "2", "--site", "block", "--everywhere")[0] == 0
    assert read_gguf(out)[0].layer == 2
    described = call("vector", bare, "--layer", "2", "--site", "mlp", "--positions", "last")[1]
    assert "site       mlp output\n  layer      2\n  positions  last\n" in described


def test_one_of_several_layers_is_chosen(call: Call, model: Path, tmp_path: Path) -> None:
    many, out = tmp_path / "many.pt", tmp_path / "out"
    torch.save({n: torch.ones(32) * n for n in range(4)}, many)
    words = ("export", many, "--model", model, "--positions", "all", "--site", "block")
    code, _, err = call(*words, "--to", "peft", "--out", out)
    assert (code, "blocks 0–3; peft takes one: choose it by --layer" in err) == (2, True)
    assert call(*words, "--to", "peft", "--out", out, "--layer", "3")[0] == 0
    gguf = tmp_path / "v.gguf"
    assert call(*words, "--to", "gguf", "--out", gguf, "--layer", "1:4")[0] == 0
    assert [vector.layer for vector in read_gguf(gguf)] == [1, 2, 3]
    code, out_text, _ = call("vector", many, "--model", model)
    assert (code, "layer      0–3" in out_text, "it fits" in out_text) == (0, True, True)
    torch.save({n: torch.ones(32) for n in range(1, 5)}, many)
    code, _, err = call(*words, "--to", "peft", "--out", tmp_path / "o", "--layer", "1")
    assert (code, "up to layer 4" in err, "blocks 0 to 3" in err) == (2, True, True)
    torch.save(torch.ones(3, 32), many)
    assert "found 3 rows" in call("vector", many, "--model", model)[2]
    torch.save(torch.ones(5, 32), many)
    code, _, err = call("vector", many, "--model", model)
    assert (code, "found 5 rows" in err, "row 1 its output" in err) == (2, True, True)


def test_gguf_needs_no_model(call: Call, file: Path) -> None:
    out = file.parent / "v.gguf"
    code, printed, _ = call("export", file, "--to", "gguf", "--out", out)
    assert code == 0
    assert f"--control-vector {out}" in printed
    (back,) = read_gguf(out)
    assert back.about["model_type"] == "llama"
    assert torch.equal(back.direction, Vector.load(file).direction)


def test_what_no_file_says_the_model_says(call: Call, tmp_path: Path, model: Path) -> None:
    bare = Vector(2, "all", torch.ones(32)).save(tmp_path / "bare.safetensors")
    out = tmp_path / "v.gguf"
    code, _, err = call("export", bare, "--to", "gguf", "--out", out)
    assert (code, "--model" in err, out.exists()) == (2, True, False)
    assert call("export", bare, "--to", "gguf", "--out", out, "--model", model)[0] == 0
    assert read_gguf(out)[0].about["model_type"] == "llama"


@pytest.mark.filterwarnings("error:the vector was made on")
def test_peft_and_lm_eval_are_written_with_the_way_to_use_them(
    call: Call, file: Path, model: Path
) -> None:
    folder, path = file.parent / "lora", file.parent / "v.pt"
    code, printed, _ = call("export", file, "--to", "peft", "--out", folder, "--model", model)
    assert (code, f"from_pretrained(model, '{folder}')" in printed) == (0, True)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(model)
    code, printed, _ = call("export", file, "--to", "lm-eval", "--out", path, "--model", model)
    assert (code, f"pretrained={model},steer_path={path}" in printed) == (0, True)
    assert list(torch.load(path, weights_only=True)) == ["layers.2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onnx", "--out", "x"], "--to onnx: allowed: gguf, peft, lm-eval, vllm-lens"),
        (["--to", "peft", "--out", "x"], "--model: missing; peft needs"),
        (["--to", "lm-eval", "--out", "x.pt"], "--model: missing; lm-eval needs"),
        (["--to", "gguf", "--out", "."], "--out .: is there already"),
        (["--to", "lm-eval-task", "--out", "x"], "nowhere.safetensors: there is no such run"),
        (["--to", "lm-eval-task", "--out", "x", "--everywhere"], "it takes a whole run"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(
    call: Call, words: list[str], message: str
) -> None:
    code, _, err = call("export", "nowhere.safetensors", *words)
    assert (code, message in err) == (2, True), err


def test_a_vector_at_some_tokens_needs_the_word(call: Call, tmp_path: Path) -> None:
    vector = Vector(2, "last", torch.ones(4), about={"model_type": "llama"})
    file, out = vector.save(tmp_path / "v.safetensors"), tmp_path / "v.gguf"
    code, _, err = call("export", file, "--to", "gguf", "--out", out)
    assert (code, "--everywhere" in err) == (2, True)
    assert call("export", file, "--to", "gguf", "--out", out, "--everywhere")[0] == 0
    assert out.is_file()


def test_a_gguf_of_several_blocks_is_no_single_vector(
    call: Call, tmp_path: Path, model: Path
) -> None:
    vectors = [Vector(n, "all", torch.ones(32)) for n in (3, 1)]
    many = write_gguf(tmp_path / "v.gguf", vectors, hint="llama")
    code, _, err = call("export", many, "--to", "peft", "--out", tmp_path / "p", "--model", model)
    assert (code, "blocks 1, 3; peft takes one" in err) == (2, True)
