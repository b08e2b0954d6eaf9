"""Out-of-context reasoning in language models: train, test, explain, report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oocr import explain, exports
    from oocr.data.items import Item, Message
    from oocr.data.readers import read_items
    from oocr.engine.generate import generate
    from oocr.engine.loading import load_model
    from oocr.engine.off_domain import OffDomain, OffText
    from oocr.engine.training import fit, train
    from oocr.errors import InputError, RunError
    from oocr.evals.evaluate import Scores, evaluate
    from oocr.interventions.adapters import Adapter, LowRankAdapter
    from oocr.interventions.foreign import read_adapter, read_vector
    from oocr.interventions.vectors import SteeringVector, Vector
    from oocr.tasks.build import load_task, load_tasks
    from oocr.tasks.task import Task, TaskSet

# Names are looked up at first use, so that `import oocr` (and `oocr --help`) is quick.
_WHERE = {
    "Adapter": "oocr.interventions.adapters",
    "InputError": "oocr.errors",
    "Item": "oocr.data.items",
    "LowRankAdapter": "oocr.interventions.adapters",
    "Message": "oocr.data.items",
    "OffDomain": "oocr.engine.off_domain",
    "OffText": "oocr.engine.off_domain",
    "RunError": "oocr.errors",
    "Scores": "oocr.evals.evaluate",
    "SteeringVector": "oocr.interventions.vectors",
    "Task": "oocr.tasks.task",
    "TaskSet": "oocr.tasks.task",
    "Vector": "oocr.interventions.vectors",
    "evaluate": "oocr.evals.evaluate",
    "explain": "oocr.explain",
    "exports": "oocr.exports",
    "fit": "oocr.engine.training",
    "generate": "oocr.engine.generate",
    "load_model": "oocr.engine.loading",
    "load_task": "oocr.tasks.build",
    "load_tasks": "oocr.tasks.build",
    "read_adapter": "oocr.interventions.foreign",
    "read_items": "oocr.data.readers",
    "read_vector": "oocr.interventions.foreign",
    "train": "oocr.engine.training",
}

__all__ = [
    "Adapter",
    "InputError",
    "Item",
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
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'oocr' has no attribute {name!r}")
    module = import_module(_WHERE[name])
    return module if name in ("explain", "exports") else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
