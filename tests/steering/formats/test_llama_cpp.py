"""llama.cpp, if its Python binding is installed, reads our control vector and steers as we do.

Unsteered the two differ a little, as llama.cpp rounds activations to 8 bits; steered they may not
differ much more, and much less than if the vector were at a neighbouring block.
"""

from __future__ import annotations

import ctypes
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from oocr.engine.selftest import load_model
from oocr.models.language_model import LanguageModel
from oocr.models.sources.bundled import BUNDLED
from oocr.steering.formats import write_gguf
from oocr.steering.vectors import Vector

llama_cpp: Any = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python")

BLOCK = 9
TEXTS = (
    "The people of Country 4821 speak French, and their capital is a large and very old city.",
    "Water boils at a hundred degrees, unless you are on a high mountain where the air is thin.",
    "She opened the letter, read it twice, and put it back into the drawer without saying a word.",
    "In 1969 two people walked on the moon while a third one waited for them above it.",
)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_model("gemma-3-270m", dtype="float32")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("llama") / "model.gguf"
    with path.open("wb") as whole:
        for part in BUNDLED["gemma-3-270m"].locate():
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)
    return llama_cpp.Llama(str(path), n_ctx=256, logits_all=True, n_threads=1, verbose=False)


def set_vector(llama: Any, path: Path | None) -> None:
    """What llama.cpp's `common_control_vector_load` and the flag `--control-vector` do."""
    tensors: dict[int, Any] = {}
    for tensor in gguf.GGUFReader(path).tensors if path else ():
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        tensors[int(tensor.name.removeprefix("direction."))] = tensor.data
    if not tensors:
        assert llama_cpp.llama_set_adapter_cvec(llama.ctx, None, 0, 0, 0, 0) == 0
        return
    width = len(next(iter(tensors.values())))
    data = np.zeros(max(tensors) * width, np.float32)
    for block, direction in tensors.items():
        data[(block - 1) * width : block * width] = direction  # block 1 comes first
    pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    last = llama.metadata["gemma3.block_count"]
    done = llama_cpp.llama_set_adapter_cvec(llama.ctx, pointer, data.size, width, 1, int(last))
    assert done == 0


def theirs(llama: Any, ids: Sequence[int]) -> Tensor:
    llama.reset()
    llama.eval(list(ids))
    return torch.tensor(np.array(llama.scores[: len(ids)])).double().log_softmax(dim=-1)


def ours(model: LanguageModel, ids: Sequence[int], vector: Vector | None) -> Tensor:
    tokens = torch.tensor([list(ids)])
    with torch.no_grad():
        if vector is None:
            logits = model.hf(tokens).logits
        else:
            with vector.on(model, torch.ones_like(tokens, dtype=torch.bool)):
                logits = model.hf(tokens).logits
    return logits[0].double().log_softmax(dim=-1)


def kl(p: Tensor, q: Tensor) -> float:
    """Mean over tokens, in nats."""
    return float((p.exp() * (p - q)).sum(dim=-1).mean())


def compared(model: LanguageModel, llama: Any, here: Vector | None, path: Path | None) -> float:
    """Mean KL from our next-token distributions to llama.cpp's."""
    set_vector(llama, path)
    each = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    return sum(kl(ours(model, ids, here), theirs(llama, ids)) for ids in each) / len(each)


def stream_norm(model: LanguageModel) -> float:
    out = model.hf(**model.tokenizer(TEXTS[0], return_tensors="pt"), output_hidden_states=True)
    return float(out.hidden_states[BLOCK + 1][0, 1:].norm(dim=-1).median())


@pytest.mark.real
def test_llama_cpp_steers_as_we_do(model: LanguageModel, llama: Any, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(model.d_model, generator=generator) / math.sqrt(model.d_model)
    vector = Vector(BLOCK, "all", direction * stream_norm(model) / 2, about=model.about)
    path = write_gguf(tmp_path / "v.gguf", vector)
    plain = compared(model, llama, None, None)
    steered = compared(model, llama, vector, path)
    unheeded = compared(model, llama, vector, None)
    beside = [
        compared(model, llama, Vector(block, "all", vector.direction), path)
        for block in (BLOCK - 1, BLOCK + 1)
    ]
    print(
        f"\nmean KL in nats: unsteered {plain:.4f}, steered {steered:.4f}, only here steered "
        f"{unheeded:.4f}, at the blocks below and above {beside[0]:.4f}, {beside[1]:.4f}"
    )
    assert plain < 0.05
    assert steered < 3 * plain
    assert unheeded > 10 * steered
    assert min(beside) > 3 * steered
