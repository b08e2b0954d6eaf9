"""A file for lm-evaluation-harness: `--model steered --model_args pretrained=M,steer_path=F.pt`.

A dict of a tensor, numbers and words in torch's own format, which `torch.load(weights_only=True)`
reads. (lm-eval 0.4.13 itself loads without that: give it your own files only.)
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import torch

from oocr.errors import InputError
from oocr.io import write_atomic
from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import site_module
from oocr.steering.vectors import Vector, check_everywhere, check_fits

ENDINGS = (".pt", ".pth")


def write_lm_eval(
    path: str | Path, model: LanguageModel, vector: Vector, *, everywhere: bool = False
) -> Path:
    """Write a vector for lm-eval's steered models, into a `.pt` file (it goes by the ending).

    `everywhere` accepts positions other than "all": lm-eval adds the vector to every token.

    Raises:
        InputError: another ending; positions or a layer that lm-eval cannot express.
    """
    path = Path(path)
    check_path(path)
    check_fits(model, vector)
    check_everywhere(vector, "lm-eval", everywhere=everywhere)
    entry = {
        "steering_vector": vector.direction.detach().float().cpu().clone(),
        "steering_coefficient": 1.0,
        "action": "add",
        "bias": None,
        "head_index": None,
    }
    content = {_hookpoint(model, vector): entry}
    file = BytesIO()  # torch does not say why it cannot write
    torch.save(content, file)
    return write_atomic(path, lambda part: part.write_bytes(file.getvalue()))


def check_path(path: Path) -> None:
    """Refuse (`InputError`) a file that lm-eval would not take for a vector's."""
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: ends in {path.suffix!r}; lm-eval allows: {', '.join(ENDINGS)}")
    if "," in str(path):  # lm-eval splits its arguments there
        raise InputError(f"{path}: has a comma; allowed: a path that lm-eval can be given")


def _hookpoint(model: LanguageModel, vector: Vector) -> str:
    """The site's name in the base model, where lm-eval looks for it."""
    if vector.layer < 0:
        raise InputError(
            "layer: found -1; lm-eval adds to the outputs of modules, and no module's output is "
            "what block 0 reads in every family; allowed: blocks from 0 on"
        )
    site = site_module(model, vector.layer, vector.site)
    for name, module in model.hf.base_model.named_modules():
        if module is site:
            return str(name)
    raise InputError(
        f"block {vector.layer} of {model.name} lies outside its base model "
        f"({type(model.hf.base_model).__name__}), where lm-eval looks for it; allowed: other models"
    )
