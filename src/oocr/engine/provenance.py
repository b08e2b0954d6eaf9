"""Provenance of a trained vector or LoRA, as it goes into its file."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task

PACKAGES = ("oocr", "torch", "transformers")


def provenance(model: LanguageModel, task: Task, seed: int) -> dict[str, str]:
    """Model, task, hash of the training data (`Task.train_hash`), seed, library versions."""
    arm = {"task": task.name, "training_data": task.train_hash, "seed": str(seed)}
    return {**model.about, **arm, **versions()}


def versions() -> dict[str, str]:
    """Of the libraries that the numbers depend on."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source folder
        return "unknown"
