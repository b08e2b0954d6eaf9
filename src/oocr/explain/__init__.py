"""Questions asked of trained arms, one file each."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from oocr.explain.constancy import Constancy, constancy, constancy_of
from oocr.explain.mixing import mixing
from oocr.explain.narrow import narrow, statements
from oocr.explain.ranks import rank_sweep
from oocr.explain.subspace import train_without
from oocr.explain.swap import swap

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
    """`audit` and `Audit`, which are built on everything here (`oocr.audit`)."""
    where = {"audit": "oocr.audit.audit", "Audit": "oocr.audit.record"}
    if name not in where:
        raise AttributeError(f"module 'oocr.explain' has no attribute {name!r}")
    return getattr(import_module(where[name]), name)
