"""A file for Neuronpedia: the body of `POST /api/vector/new`, one vector in JSON.

Hooks are named as TransformerLens does: `hook_resid_post` of block N is its output, and
`hook_resid_pre` of block 0 what it reads. Neuronpedia adds strength x vector at every token; the
strength written here is 1.
"""

from __future__ import annotations

from pathlib import Path

from oocr.errors import InputError
from oocr.io import write_json
from oocr.steering.formats.serving import check_block_outputs
from oocr.steering.vectors import Vector, check_everywhere

LONGEST_LABEL = 60


def write_neuronpedia(
    path: str | Path,
    vector: Vector,
    *,
    model_id: str | None = None,
    label: str | None = None,
    everywhere: bool = False,
) -> Path:
    """Write a vector as Neuronpedia's API takes it.

    Args:
        path: the JSON file.
        vector: at a block's output, or at what block 0 reads.
        model_id: what Neuronpedia calls the model ("gemma-2-2b"); None: the last part of the
            model's Hugging Face id, in small letters.
        label: None: the vector's task.
        everywhere: accept positions other than "all".

    Raises:
        InputError: a site or positions that Neuronpedia cannot express, or no known model.
    """
    check_block_outputs([vector], "Neuronpedia", lowest=-1)
    check_everywhere(vector, "Neuronpedia", everywhere=everywhere)
    name = model_id or vector.about.get("model_id", vector.about.get("model", ""))
    if not (known := name.rstrip("/").rpartition("/")[2].lower()):
        raise InputError(
            "model: the vector does not say which it is for; Neuronpedia needs its name: give "
            "model_id=…, on the command line --model"
        )
    words = label or vector.about.get("task") or f"steering vector, block {vector.layer}"
    body = {
        "modelId": known,
        "layerNumber": max(vector.layer, 0),
        "hookType": "hook_resid_post" if vector.layer >= 0 else "hook_resid_pre",
        "vector": [float(value) for value in vector.direction],
        "vectorDefaultSteerStrength": 1,
        "vectorLabel": words[:LONGEST_LABEL],
    }
    return write_json(Path(path), body)
