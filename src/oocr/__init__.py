"""Out-of-context reasoning in language models: train, test, explain, report."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oocr import explain as explain
    from oocr.data.examples import Example as Example
    from oocr.data.examples import Message as Message
    from oocr.data.readers import read_items as read_items
    from oocr.engine.generate import generate as generate
    from oocr.engine.off_domain import OffDomain as OffDomain
    from oocr.engine.off_domain import OffText as OffText
    from oocr.engine.selftest import load_model as load_model
    from oocr.engine.training import fit as fit
    from oocr.engine.training import train as train
    from oocr.errors import InputError as InputError
    from oocr.errors import RunError as RunError
    from oocr.evals.score_table import Scores as Scores
    from oocr.evals.score_table import evaluate as evaluate
    from oocr.families.registry import load_task as load_task
    from oocr.families.registry import load_tasks as load_tasks
    from oocr.report.tokens import tokens as tokens
    from oocr.steering import formats
    from oocr.steering.adapters import Adapter as Adapter
    from oocr.steering.adapters import LowRankAdapter as LowRankAdapter
    from oocr.steering.formats.lora import read_adapter as read_adapter
    from oocr.steering.formats.vector_layouts import read_vector as read_vector
    from oocr.steering.vectors import SteeringVector as SteeringVector
    from oocr.steering.vectors import Vector as Vector
    from oocr.tasks.task import Task as Task
    from oocr.tasks.task import TaskSet as TaskSet

    exports = formats

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
    "read_adapter": "oocr.steering.formats.lora",
    "read_items": "oocr.data.readers",
    "read_vector": "oocr.steering.formats.vector_layouts",
    "tokens": "oocr.report.tokens",
    "train": "oocr.engine.training",
}

__all__ = list(_WHERE)

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
