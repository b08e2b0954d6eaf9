"""Out-of-context reasoning in language models: train, test, explain, report."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oocr import explain
    from oocr.data.examples import Example, Message
    from oocr.data.readers import read_items
    from oocr.engine.generate import generate
    from oocr.engine.off_domain import OffDomain, OffText
    from oocr.engine.selftest import load_model
    from oocr.engine.training import fit, train
    from oocr.errors import InputError, RunError
    from oocr.evals.score_table import Scores, evaluate
    from oocr.families.registry import load_task, load_tasks
    from oocr.report.tokens import tokens
    from oocr.steering import formats as exports
    from oocr.steering.adapters import Adapter, LowRankAdapter
    from oocr.steering.formats.foreign import read_adapter, read_vector
    from oocr.steering.vectors import SteeringVector, Vector
    from oocr.tasks.task import Task, TaskSet

# Names are looked up at first use, so that `import oocr` (and `oocr --help`) is quick.
_WHERE = {
    "Adapter": "oocr.steering.adapters",
    "InputError": "oocr.errors",
    "Example": "oocr.data.examples",
    "LowRankAdapter": "oocr.steering.adapters",
    "Message": "oocr.data.examples",
    "OffDomain": "oocr.engine.off_domain",
    "OffText": "oocr.engine.off_domain",
    "RunError": "oocr.errors",
    "Scores": "oocr.evals.score_table",
    "SteeringVector": "oocr.steering.vectors",
    "Task": "oocr.tasks.task",
    "TaskSet": "oocr.tasks.task",
    "Vector": "oocr.steering.vectors",
    "evaluate": "oocr.evals.score_table",
    "explain": "oocr.explain",
    "exports": "oocr.steering.formats",
    "fit": "oocr.engine.training",
    "generate": "oocr.engine.generate",
    "load_model": "oocr.engine.selftest",
    "load_task": "oocr.families.registry",
    "load_tasks": "oocr.families.registry",
    "read_adapter": "oocr.steering.formats.foreign",
    "read_items": "oocr.data.readers",
    "read_vector": "oocr.steering.formats.foreign",
    "tokens": "oocr.report.tokens",
    "train": "oocr.engine.training",
}

__all__ = [
    "Adapter",
    "Example",
    "InputError",
    "LowRankAdapter",
    "Message",
    "OffDomain",
    "OffText",
    "RunError",
    "Scores",
    "SteeringVector",
    "Task",
    "TaskSet",
    "Vector",
    "evaluate",
    "explain",
    "exports",
    "fit",
    "generate",
    "load_model",
    "load_task",
    "load_tasks",
    "read_adapter",
    "read_items",
    "read_vector",
    "tokens",
    "train",
]


_RENAMED = {"Item": "Example"}
"""Old public name -> its new one; the old one still works, with a warning."""


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        new = _RENAMED[name]
        warnings.warn(f"oocr.{name} is now oocr.{new}", DeprecationWarning, stacklevel=2)
        return __getattr__(new)
    if name not in _WHERE:
        raise AttributeError(f"module 'oocr' has no attribute {name!r}")
    module = import_module(_WHERE[name])
    return module if name in ("explain", "exports") else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
