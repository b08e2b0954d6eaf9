"""Vectors of other projects: what each file says, what has to be said, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import oocr
from oocr.errors import InputError
from oocr.steering.formats import write_gguf, write_lm_eval
from oocr.steering.formats.vector_layouts import read_vector_file
from oocr.steering.vectors import Vector
from oocr.words import ranges
from tests.steering.formats.test_foreign_weights import refused, saved
from tests.steering.test_adapters import model_of

WIDTH = 8
WHERE: dict[str, Any] = {"positions": "all", "site": "block"}


def row(number: float) -> torch.Tensor:
    return torch.full((WIDTH,), float(number))


BY_LAYER = {
    "numbers": {n: row(n) for n in (1, 2, 5)},
    "names": {f"layer_{n}": row(n) for n in (1, 2, 5)},
    "digits": {str(n): row(n) for n in (1, 2, 5)},
    "paths": {f"model.layers.{n}": row(n) for n in (1, 2, 5)},
    "one row each": {n: row(n)[None] for n in (1, 2, 5)},
    "repeng's fields": {"model_type": "llama", "directions": {n: row(n) for n in (1, 2, 5)}},
}


@pytest.mark.parametrize("form", BY_LAYER)
def test_vectors_by_layer(tmp_path: Path, form: str) -> None:
    path = saved(tmp_path, "v.pt", BY_LAYER[form])
    file = read_vector_file(path)
    assert (file.layers, file.missing) == ([1, 2, 5], ["site", "positions"])
    vector = oocr.read_vector(path, layer=5, **WHERE)
    assert (vector.layer, vector.site, vector.positions) == (5, "block", "all")
    assert torch.equal(vector.direction, row(5))
    message = refused(oocr.read_vector, path, **WHERE)
    assert "it has vectors at blocks 1–2, 5; choose one by layer=" in message
    assert "layer: found 3; allowed: 1–2, 5" in refused(oocr.read_vector, path, layer=3, **WHERE)
    if form == "repeng's fields":
        assert vector.about["model_type"] == "llama"


def test_safetensors_and_npz_by_layer_too(tmp_path: Path) -> None:
    tensors = {f"layer_{n}": row(n) for n in (0, 3)}
    save_file(tensors, tmp_path / "v.safetensors", metadata={"format": "pt", "model": "some/model"})
    np.savez(tmp_path / "v.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    for name in ("v.safetensors", "v.npz"):
        vector = oocr.read_vector(tmp_path / name, layer=3, **WHERE)
        assert torch.equal(vector.direction, row(3))
    said = oocr.read_vector(tmp_path / "v.safetensors", layer=0, **WHERE).about
    assert dict(said) == {"file": "v.safetensors", "model": "some/model"}


def test_steering_vectors_say_their_site(tmp_path: Path) -> None:
    def of(kind: str) -> Path:
        content = {"layer_activations": {1: row(1), 4: row(4)}, "layer_type": kind}
        return saved(tmp_path, f"{kind}.pt", content)

    assert oocr.read_vector(of("decoder_block"), layer=4, positions="all").site == "block"
    assert oocr.read_vector(of("mlp"), layer=4, positions="all").site == "mlp"
    message = refused(oocr.read_vector, of("self_attn"), layer=4, positions="all")
    assert "layer_type: found 'self_attn'; allowed: decoder_block, mlp" in message
    message = refused(oocr.read_vector, of("mlp"), layer=4, **WHERE)
    assert "site: found 'block'; the file says 'mlp'" in message


def test_keys_name_the_module(tmp_path: Path) -> None:
    path = saved(tmp_path, "v.pt", {f"model.layers.{n}.mlp": row(n) for n in (1, 2)})
    assert oocr.read_vector(path, layer=2, positions="all").site == "mlp"
    for word in ("self_attn", "input_layernorm", "hook_resid_pre", "mlp.up_proj"):
        other = saved(tmp_path, "o.pt", {f"model.layers.{n}.{word}": row(n) for n in (1, 2)})
        assert "vectors of another module" in refused(oocr.read_vector, other, layer=2, **WHERE)


@pytest.mark.parametrize("key", ["weight", "vector.weight", "layer_3.weight", "vec.3.weight"])
def test_a_vector_may_be_a_module_s_weight(tmp_path: Path, key: str) -> None:
    save_file({key: row(2)}, tmp_path / "v.safetensors", {"format": "pt"})
    vector = oocr.read_vector(tmp_path / "v.safetensors", layer=3, **WHERE)
    assert (vector.layer, vector.norm) == (3, float(row(2).norm()))
    for name in ("norms.3.weight", "layers.3.ln.weight", "layers.3.bias"):
        other = saved(tmp_path, "o.pt", {name: row(1)})
        assert "vectors of another module" in refused(oocr.read_vector, other, layer=3, **WHERE)


def test_rows_of_a_stack_are_blocks(tmp_path: Path) -> None:
    stack = torch.stack([row(n) for n in range(4)])
    np.save(tmp_path / "v.npy", stack.numpy())
    forms = [
        saved(tmp_path, "v.pt", stack),
        saved(tmp_path, "list.pt", list(stack)),
        saved(tmp_path, "deep.pt", stack[:, None]),
        tmp_path / "v.npy",
    ]
    for path in forms:
        vector = oocr.read_vector(path, layer=2, **WHERE)
        assert torch.equal(vector.direction, row(2)), path
        assert vector.about["row"] == "2 of 4"


def test_rows_of_persona_vectors_are_hidden_states(tmp_path: Path) -> None:
    path = saved(tmp_path, "evil_response_avg_diff.pt", torch.stack([row(n) for n in range(5)]))
    vector = oocr.read_vector(path, layer=2, **WHERE)
    assert torch.equal(vector.direction, row(3)), "row 0 is what block 0 reads"
    assert vector.about["row"] == "3 of 5"
    assert read_vector_file(path).layers == [-1, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "layer", "site"),
    [
        ("vec_layer_13_Llama-2-7b-chat-hf.pt", 13, "block"),
        ("vec_layer_1.pt", 1, "block"),
        ("layer_12.pt", 12, None),
        ("vector_risk_layer_3_rank_1.pt", 3, "mlp"),
        ("mine.pt", None, None),
    ],
)
def test_names_say_layer_and_site(
    tmp_path: Path, name: str, layer: int | None, site: str | None
) -> None:
    file = read_vector_file(saved(tmp_path, name, row(1)))
    assert (file.layers, file.site) == ([] if layer is None else [layer], site)


def test_numbers_beside_a_tensor_are_used_or_named(tmp_path: Path) -> None:
    said = {
        "layer_idx": 4,
        "d_model": WIDTH,
        "alpha": 256.0,
        "model_name": "some/model",
        "trait": "evil",
        "losses": [1.0, 2.0],
    }
    path = saved(tmp_path, "v.pt", {"steering_vector": row(1), **said})
    vector = oocr.read_vector(path, **WHERE)
    assert (vector.layer, float(vector.norm)) == (4, float(row(1).norm()))
    assert dict(vector.about) == {
        "file": "v.pt",
        "model": "some/model",
        "trait": "evil",
        "left out": "alpha 256.0, which it is not multiplied by; losses (a list of 2)",
    }
    assert "layer: found 3; allowed: 4" in refused(oocr.read_vector, path, layer=3, **WHERE)
    wide = saved(tmp_path, "w.pt", {"v": row(1), "hidden_size": 99})
    assert "found width 8, and hidden_size 99" in refused(oocr.read_vector, wide, layer=1, **WHERE)
    two = saved(tmp_path, "layer_5.pt", {"v": row(1), "layer": 6})
    assert "layer 6, and 5 in the file's name" in refused(oocr.read_vector, two, **WHERE)
    back = Vector.load(vector.save(tmp_path / "v.safetensors"))
    assert back.about == vector.about


def test_what_lm_eval_reads_is_read_back(tmp_path: Path) -> None:
    vector = Vector(2, "all", torch.randn(32), site="mlp")
    path = write_lm_eval(tmp_path / "v.pt", model_of("llama"), vector)
    back = oocr.read_vector(path)
    assert torch.equal(back.direction, vector.direction)
    assert back.where == vector.where
    entry = torch.load(path, weights_only=True)
    entry["layers.2.mlp"]["steering_coefficient"] = 2.0
    torch.save(entry, path)
    assert torch.equal(oocr.read_vector(path).direction, vector.direction * 2)
    entry["layers.2.mlp"]["action"] = "clamp"
    torch.save(entry, path)
    assert "action: found 'clamp'; allowed: 'add'" in refused(oocr.read_vector, path)


def test_a_control_vector_is_read_as_any_other(tmp_path: Path) -> None:
    many = [Vector(n, "all", row(n)) for n in (1, 3)]
    path = write_gguf(tmp_path / "v.gguf", many, hint="llama")
    assert oocr.read_vector(path, layer=3).layer == 3
    assert oocr.read_vector(path, layer=3, positions="last").positions == "last"
    assert "blocks 1, 3; choose one" in refused(oocr.read_vector, path)
    assert "site: found 'mlp'" in refused(oocr.read_vector, path, layer=1, site="mlp")


class SteeringVector:
    """A class of another library, of which nothing may be unpickled."""

    layer_type = "decoder_block"


class ControlVector:
    """Likewise."""


@pytest.mark.parametrize(
    ("value", "name", "way"),
    [
        (SteeringVector(), "v.pt", '"layer_activations": dict(v.layer_activations)'),
        (ControlVector(), "v.pt", "v = torch.load('v.pt', weights_only=False); v.export_gguf(\""),
        ({3: np.ones(4, np.float32)}, "v.pt", "torch.as_tensor(value)"),
    ],
)
def test_pickles_of_objects_name_the_way_out(
    tmp_path: Path, value: Any, name: str, way: str
) -> None:
    path = saved(tmp_path, name, value)
    message = refused(oocr.read_vector, path, layer=3, **WHERE)
    assert "such a pickle could run code; nothing of it was used" in message
    assert way in message


@pytest.mark.parametrize("ending", [".pkl", ".pickle", ".joblib"])
def test_plain_pickles_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"v{ending}"
    path.write_bytes(pickle.dumps({3: [1.0, 2.0]}))
    message = refused(oocr.read_vector, path, layer=3, **WHERE)
    assert "such a pickle could run code; nothing of it was used" in message
    assert ("joblib.load" if ending == ".joblib" else "pickle.load(open(") in message
    torch.save({3: row(3)}, path)  # torch's file under such a name is read as torch's
    assert oocr.read_vector(path, layer=3, **WHERE).layer == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": row(1), "b": row(2)}, "found 2 tensors under 'a', 'b'"),
        ({"layer_1_x_2": row(1), "layer_2_x_2": row(1)}, "found 2 tensors under 'layer_1_x_2'"),
        ({"layer_1": row(1), "block_2": row(1)}, "of more than one kind"),
        ({"layer_1": row(1), 1: row(1)}, "of more than one kind"),
        ({-1: row(1), -2: row(1)}, "layer: found -2; allowed: a block's number, from 0 on"),
        ({"-1": row(1)}, "layer: found -1; allowed: a block's number"),
        ({"v": row(1), "layer": -1}, "layer: found -1; allowed: a block's number"),
        ({1: row(1), 2: torch.ones(WIDTH + 1)}, "found widths 8, 9"),
        ({1: torch.ones(3, WIDTH)}, "block 1: shape: found (3, 8); allowed: one axis"),
        ({1: row(1) / 0}, "block 1: found values that are not finite"),
        ({1: row(1).long()}, "block 1: found torch.int64"),
        ({1: row(1).to_sparse()}, "block 1: found sparse torch.float32; allowed: a dense"),
        ({(1, "a"): row(1)}, "found 1 tensors under (1, 'a')"),
        ({1: row(1).double() * 1e300}, "block 1: found values that are not finite"),
        ({"vectors": {1: row(1)}, "site": ["mlp"]}, "site: found ['mlp']; allowed: decoder_block"),
        ({"a.0.weight": row(1), "norm.weight": row(1)}, "a model's weights under 'a.0.weight'"),
        ({"model.layers.0.q_proj.lora_A.weight": row(1)}, "it is read as an adapter"),
        ([row(1), torch.ones(2)], "found a list of 2 entries"),
        (torch.ones(2, 3, 4), "shape: found (2, 3, 4)"),
        (torch.ones(2, 3, 4)[0].long(), "found torch.int64"),
        ({"layer": 3}, "found 0 tensors under 'layer'"),
        ("text", "found a str of 4"),
    ],
)
def test_what_holds_no_vector_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    error = refused(oocr.read_vector, saved(tmp_path, "v.pt", value), layer=1, **WHERE)
    assert message in error
    assert "v.pt" in error


def test_numpy_files_that_hold_objects_or_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([{}], dtype=object), allow_pickle=True)
    message = refused(oocr.read_vector, tmp_path / "v.npy", layer=1, **WHERE)
    assert "not a readable .npy file of numbers" in message
    (tmp_path / "e.npy").write_bytes(b"")
    assert "e.npy: not a readable" in refused(oocr.read_vector, tmp_path / "e.npy")
    with pytest.raises(InputError, match=r"no such file"):
        oocr.read_vector(tmp_path / "none.npy")


@pytest.mark.parametrize(
    ("data", "ending", "kind"),
    [
        (b"\x93NUMPY\x01\x00", ".pt", "a NumPy array"),
        (b"GGUF\x03\x00\x00\x00", ".safetensors", "a GGUF file"),
        (b"ggla\x01\x00\x00\x00", ".bin", "a LoRA of llama.cpp before GGUF"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a"', ".pt", "a safetensors file"),
    ],
)
def test_a_file_under_another_ending_is_named(
    tmp_path: Path, data: bytes, ending: str, kind: str
) -> None:
    path = tmp_path / f"v{ending}"
    path.write_bytes(data)
    message = refused(oocr.read_vector, path, layer=1, **WHERE)
    assert message == f"{path}: this is {kind}, under the ending {ending}"


def test_numbers_in_another_order_of_bytes_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", row(3).numpy().astype(">f4"))
    vector = oocr.read_vector(tmp_path / "v.npy", layer=1, **WHERE)
    assert torch.equal(vector.direction, row(3))


def test_no_block_is_counted_from_the_end(tmp_path: Path) -> None:
    path = saved(tmp_path, "v.pt", row(1))
    assert oocr.read_vector(path, layer=-1, **WHERE).layer == -1
    message = refused(oocr.read_vector, path, layer=-2, **WHERE)
    assert "layer: found -2; allowed: a block, from 0 on, or -1" in message


def test_a_newer_version_of_our_own_file_is_not_read_as_another_s(tmp_path: Path) -> None:
    said = {"format": "oocr-vector-99", "layer": "1"}
    save_file({"direction.1": row(1)}, tmp_path / "v.safetensors", metadata=said)
    message = refused(oocr.read_vector, tmp_path / "v.safetensors", **WHERE)
    assert "format: found 'oocr-vector-99'; allowed: oocr-vector-2" in message


def test_eight_bits_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path, "v.pt", {3: row(1).to(torch.float8_e4m3fn)})
    assert torch.equal(oocr.read_vector(path, layer=3, **WHERE).direction, row(1))


def test_ranges() -> None:
    assert ranges([3, 1, 2, 7, 9, 10]) == "1–3, 7, 9–10"
