"""Loading a model for use: read, frozen, and tested by steering it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from oocr.engine.selftest import tested
from oocr.models.load import read_model

if TYPE_CHECKING:
    import torch

    from oocr.models.language_model import LanguageModel


def load_model(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Load a causal LM, frozen and in eval mode, and test that steering it does what it says.

    A family whose blocks can't be run apart from the model is used all the same, by the plain
    path, with a warning.

    Args:
        name: a bundled or plug-in model's name, a local folder, a .gguf file, or a Hugging
            Face id; the first of these that exists is taken.
        dtype: "float32", "bfloat16", "float16", or "auto": bfloat16 on a GPU, and on a CPU that is
            three times as fast in it (as with AMX), else float32; or what its plug-in chooses.
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        device_map: spread the model over devices as accelerate does ("auto"); excludes `device`.
        revision: branch, tag or commit; only for a Hugging Face id.
        on_progress: told in a few words what takes time.

    Raises:
        InputError: no such model (with the way to get it), or one that cannot be steered.
        RunError: the disk is full while a GGUF is converted.
    """
    return tested(
        read_model(
            name,
            dtype=dtype,
            device=device,
            device_map=device_map,
            revision=revision,
            on_progress=on_progress,
        )
    )
