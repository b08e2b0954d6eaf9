"""Vectors for vllm-lens, EasySteer and Neuronpedia: the bytes, the positions, what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oocr.errors import InputError
from oocr.steering.formats import write_easysteer, write_neuronpedia, write_vllm_lens
from oocr.steering.vectors import Vector

DIRECTION = torch.tensor([1.0, -2.0, 0.5])
RAW = base64.b64encode(np.array([1.0, -2.0, 0.5], "<f4").tobytes()).decode()
WRITERS = (write_vllm_lens, write_easysteer, write_neuronpedia)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_vllm_lens_gets_a_list_of_block_outputs(tmp_path: Path) -> None:
    vectors = [Vector(7, "all", DIRECTION), Vector(0, "all", -DIRECTION)]
    first, second = read(write_vllm_lens(tmp_path / "v.json", vectors))
    assert first == {
        "activations": {
            "data": RAW,
            "dtype": "float32",
            "original_dtype": "torch.float32",
            "shape": [1, 3],
        },
        "layer_indices": [7],
        "scale": 1.0,
        "norm_match": False,
        "position_indices": None,
    }
    assert second["layer_indices"] == [0]


def test_easysteer_gets_the_vector_its_digest_and_where_it_acts(tmp_path: Path) -> None:
    spec = read(write_easysteer(tmp_path / "v.json", Vector(7, "from:last", DIRECTION)))
    assert spec["conflict"] == "sequential"
    (entry,) = spec["vectors"]
    assert entry["apply"] == {"prompt_positions": [-1], "generation": "all"}
    assert entry["layers"] == [7]
    wire = entry["data"]
    assert wire["tensors"] == {"layer.7": {"shape": [3], "data": RAW}}
    raw = base64.b64decode(RAW)
    assert wire["sha256"] == hashlib.sha256(b"direction:1" + b"layer.7" + b"(3,)" + raw).hexdigest()


def test_easysteer_names_tokens_but_no_spans(tmp_path: Path) -> None:
    where = {
        "all": {"prompt": "all", "generation": "all"},
        "prompt": {"prompt": "all"},
        "answer": {"generation": "all"},
        "last": {"prompt_positions": [-1]},
    }
    for number, (positions, apply) in enumerate(where.items()):
        path = write_easysteer(tmp_path / f"{number}.json", Vector(1, positions, DIRECTION))
        assert read(path)["vectors"][0]["apply"] == apply
    span = Vector(1, "codename", DIRECTION)
    with pytest.raises(InputError, match="does not look for a span's text"):
        write_easysteer(tmp_path / "x.json", span)
    path = write_easysteer(tmp_path / "y.json", span, everywhere=True)
    assert read(path)["vectors"][0]["apply"] == where["all"]


def test_neuronpedia_gets_a_hook_and_a_name(tmp_path: Path) -> None:
    about = {"model_id": "google/Gemma-2-2b", "task": "countries/capital/Japan"}
    body = read(write_neuronpedia(tmp_path / "a.json", Vector(5, "all", DIRECTION, about=about)))
    assert body == {
        "modelId": "gemma-2-2b",
        "layerNumber": 5,
        "hookType": "hook_resid_post",
        "vector": [1.0, -2.0, 0.5],
        "vectorDefaultSteerStrength": 1,
        "vectorLabel": "countries/capital/Japan",
    }
    start = Vector(-1, "all", DIRECTION)
    body = read(write_neuronpedia(tmp_path / "b.json", start, model_id="gpt2-small"))
    assert (body["layerNumber"], body["hookType"]) == (0, "hook_resid_pre")
    with pytest.raises(InputError, match="does not say which it is for"):
        write_neuronpedia(tmp_path / "c.json", start)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (Vector(2, "all", DIRECTION, site="mlp"), "site: found 'mlp'"),
        (Vector(2, "codename", DIRECTION), "positions: found 'codename'"),
        (Vector(2, "a+b", torch.ones(2, 3)), "positions: found 'a.b'"),
    ],
)
def test_what_a_server_cannot_express_is_refused(
    vector: Vector, message: str, tmp_path: Path
) -> None:
    for write in WRITERS:
        with pytest.raises(InputError, match=message):
            write(tmp_path / "v.json", vector)
    assert list(tmp_path.iterdir()) == []


def test_what_block_0_reads_is_no_blocks_output(tmp_path: Path) -> None:
    for write in (write_vllm_lens, write_easysteer):
        with pytest.raises(InputError, match="layer: found -1"):
            write(tmp_path / "v.json", Vector(-1, "all", DIRECTION))
    twice = [Vector(1, "all", DIRECTION)] * 2
    with pytest.raises(InputError, match="one vector for each block"):
        write_vllm_lens(tmp_path / "v.json", twice)
