"""Where a model's files are: bundled, of plug-ins, local folders, GGUF files, Hugging Face ids."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from oocr.errors import InputError
from oocr.lfs import refuse_lfs_pointer
from oocr.models.checkpoint import ADAPTER, is_whole
from oocr.models.gguf import conversion
from oocr.models.gguf.header import is_gguf
from oocr.models.gguf.split import split_stem
from oocr.models.sources import hub
from oocr.models.sources.bundled import BUNDLED, bytes_text, named_models, plugin_of

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's folder or Hugging Face id, where it is from, and whether it is a converted GGUF."""

    where: str
    source: dict[str, str]
    converted: bool = False


def find_files(name: str, say: Say | None = None) -> ModelFiles:
    """Where a model's files are; a GGUF is converted, the hub is not asked.

    Raises:
        InputError: no such model.
    """
    kind, path = source_kind(name), Path(name).expanduser()
    if kind == "named":
        model, plugin = named_models()[name], plugin_of(name)
        if not model.here:
            raise InputError(
                f"{name}: its files are not in this installation. Get it with: {model.install}"
            )
        source = {"path": str(model.folder), "license": model.license}
        return ModelFiles(str(model.folder), {"kind": plugin.kind if plugin else kind} | source)
    if kind == "bundled":
        bundled = BUNDLED[name]
        source = {"kind": kind, "origin": bundled.origin, "license": bundled.license}
        folder = conversion.converted_folder(name, bundled.sha256)
        if folder is None:
            parts = bundled.locate()
            if not parts:
                size = bytes_text(bundled.size)
                raise InputError(f"{name} ({size}) is not here. Get it with: {bundled.install}")
            folder = conversion.convert(
                parts, name=name, expected_sha256=bundled.sha256, on_progress=say
            )
    elif kind == "gguf":
        source = {"kind": kind, "path": str(path.resolve())}
        folder = conversion.convert(path, name=split_stem(path), on_progress=say)
    elif kind == "folder":
        _check_folder(path)
        return ModelFiles(str(path), {"kind": kind, "path": str(path.resolve())})
    else:
        return ModelFiles(name, {"kind": kind, "id": name})
    record = json.loads((folder / conversion.RECORD).read_text(encoding="utf-8"))
    source |= {"sha256": record["sha256"]}
    if kind == "gguf" and (left_out := record["left_out"]):
        source |= {"left out": "; ".join(left_out)}
        (say or warnings.warn)(f"{name}: fields left out ({len(left_out)}): {source['left out']}")
    return ModelFiles(str(folder), source, converted=True)


def source_kind(name: str) -> str:
    """Which of the five sources a name means."""
    if name in BUNDLED:
        return "bundled"
    if name in named_models():
        return "named"
    path = Path(name).expanduser()
    if not name.strip():
        raise InputError(f"{name!r}: no such file or folder")
    if path.is_dir():
        return "folder"
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return "gguf"
        hint = f": {path.parent}" if (path.parent / "config.json").is_file() else ""
        if is_gguf(path):
            raise InputError(f"{name}: this is a GGUF file; allowed: a name that ends in .gguf")
        raise InputError(
            f"{name}: not a model. Give a .gguf file or the folder that has config.json{hint}"
        )
    if hub.is_path(name):
        raise InputError(f"{name!r}: no such file or folder")
    return "hub"


def _check_folder(path: Path) -> None:
    """Refuse a folder that is no model's, with the reason."""
    for file in path.glob("*.json"):
        refuse_lfs_pointer(file)
    refuse_lfs_pointer(path / "tokenizer.model")
    file = path / ADAPTER
    if file.is_file() and not is_whole(path):
        try:
            base = json.loads(file.read_text()).get("base_model_name_or_path")
        except (OSError, ValueError):
            base = None
        raise InputError(
            f"{path}: this is a PEFT adapter, not a model; its base model is {base!r} "
            "(oocr audit takes adapters)"
        )
    if not (path / "config.json").is_file():
        files = sorted(path.glob("*.gguf"))
        hint = f"; did you mean {files[0]}?" if files else ""
        raise InputError(f"{path}: no config.json in this folder{hint}")
