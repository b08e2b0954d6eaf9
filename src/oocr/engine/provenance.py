"""What a trained vector or LoRA says of its origin; it goes into its file as it is."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version

from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task

PACKAGES = ("oocr", "torch", "transformers")


def provenance(model: LanguageModel, task: Task, data: str, seed: int) -> dict[str, str]:
    """Model, task, hash of the training data (see `training_hash`), seed, library versions."""
    own = {"task": task.name, "training_data": data, "seed": str(seed)}
    return {**model.about, **own, **versions()}


def versions() -> dict[str, str]:
    """Of the libraries that the numbers depend on."""
    return {name: _version(name) for name in PACKAGES}


def training_hash(task: Task) -> str:
    """A hash of the training items, in their order, and of the loss; 16 hex digits."""
    digest = hashlib.sha256(task.loss.encode())
    for item in task.train:
        digest.update(f"\n{item!r}".encode())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source folder
        return "unknown"
