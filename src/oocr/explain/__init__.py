"""Questions asked of trained arms, one file each; functions return tidy rows or a small record.

    differences    what does an adapter add to the residual stream?
    constancy      is it one constant vector?
    lora_vectors   which vectors can take its place?
    subspace       how many directions does it need, and can it do without the first?
    geometry       how similar are vectors, compared with chance?
    interpolation  what lies between two vectors, beyond one, and along training?
    transfer       what does a vector change besides its own task?
    side_effects   what does it do to unrelated text and questions?
    attention      does a vector make the last token attend to a trigger?
    path_patching  which parts of the blocks above read it?
    lens           which tokens does a direction say, and which concept?
    description    what does the model itself say that it means?
    llm_judge      what does another model make of it?
    ranks          what changes with the rank of a LoRA?
    penalty        is what was learned narrow, if changes elsewhere cost?
    row_mixes      what changes with unrelated rows among the narrow ones?

`neutral`: text unrelated to any task; `retraining`: scores of newly trained arms.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from oocr.explain.constancy import Constancy, constancy, constancy_of
from oocr.explain.lora_vectors import swap
from oocr.explain.penalty import narrow, statements
from oocr.explain.ranks import rank_sweep
from oocr.explain.row_mixes import mixing
from oocr.explain.subspace import train_without

__all__ = [
    "Constancy",
    "constancy",
    "constancy_of",
    "mixing",
    "narrow",
    "rank_sweep",
    "statements",
    "swap",
    "train_without",
]


def __getattr__(name: str) -> Any:
    """`audit` and `Audit` of `oocr.audit`, imported late, since they import this package."""
    where = {"audit": "oocr.audit.audit", "Audit": "oocr.audit.record"}
    if name not in where:
        raise AttributeError(f"module 'oocr.explain' has no attribute {name!r}")
    return getattr(import_module(where[name]), name)
