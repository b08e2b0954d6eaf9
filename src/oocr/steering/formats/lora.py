"""LoRAs from files that this library did not write: PEFT's folders, dicts of tensors, GGUFs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.hub_files import HUB_FILE, HubPath, fetch, hub_path
from oocr.models.anatomy import HasAnatomy
from oocr.models.gguf.header import is_gguf
from oocr.steering.adapters import Adapter
from oocr.steering.formats.adapter_config import CONFIG, read_config
from oocr.steering.formats.adapter_repository import WEIGHTS, fetch_adapter
from oocr.steering.formats.gguf_lora import read_gguf_lora
from oocr.steering.formats.lora_tensors import adapter_of
from oocr.steering.formats.tensor_files import content_of, tensor_fault
from oocr.words import counted

ALPHA = 32.0
"""Alpha for a file that does not give it: the paper's value."""


def read_adapter(
    path: str | Path, *, alpha: float | None = None, base: HasAnatomy | None = None
) -> Adapter:
    """Read a LoRA: a folder of this library or of PEFT, its weights' file, tensors, or a GGUF.

    Weights may have the names that PEFT, or the model, had at any time. A file without a config
    beside it does not say alpha: 32, the paper's, is assumed unless it is given, and
    `about["alpha"]` says so; `about["left out"]` names what is not used. A GGUF for a Llama that
    adapts queries or keys needs its `base`, a loaded model.

    Raises:
        InputError: not such a folder or file, or more than a LoRA on modules of the blocks.
    """
    if (address := hub_path(path)) is not None:
        return _of_hub(address, alpha, base)
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if is_gguf(path):
        if alpha is not None:
            raise InputError(f"alpha: found {alpha}; {path} is a GGUF, which says it")
        return read_gguf_lora(path, base)
    if path.is_dir() or (folder / CONFIG).is_file():
        if alpha is not None:
            raise InputError(f"alpha: found {alpha}; {folder / CONFIG} says it")
        return _of_folder(folder, path)
    return _of_file(path, alpha)


def _of_hub(address: HubPath, alpha: float | None, base: HasAnatomy | None) -> Adapter:
    """A LoRA from the Hub: a repository's, that of a folder in it, or a file's."""
    if address.path is not None and Path(address.path).suffix:
        file = fetch(address)
        adapter, source = read_adapter(file.local, alpha=alpha, base=base), file.address
    else:
        folder = fetch_adapter(address)
        if folder is None:
            raise InputError(
                f"{address}: found no {CONFIG}; allowed: a LoRA's repository or folder"
            )
        adapter, source = read_adapter(folder.local, alpha=alpha, base=base), folder.address
    return replace(adapter, about={**adapter.about, HUB_FILE: str(source)})


def _of_folder(folder: Path, path: Path) -> Adapter:
    """A LoRA by its config, from the file of the folder that is named, or the usual one."""
    config = read_config(folder)
    files = [path]
    if path.is_dir() or path.name == CONFIG:
        files = [folder / name for name in WEIGHTS if (folder / name).is_file()]
        if not files:
            raise InputError(f"{folder}: found neither {' nor '.join(WEIGHTS)}")
    left_out = [f"{file.name} (beside {files[0].name})" for file in files[1:]]
    about = {"folder": folder.name, "alpha": f"{config.alpha:g} (in its config)"}
    about |= {"model": config.base} if config.base else {}
    about |= {"base_revision": config.revision} if config.revision else {}
    tensors, _ = _tensors_of(files[0])
    adapter = adapter_of(files[0], tensors, config, about, left_out)
    if not (folder / "oocr.json").is_file():
        return adapter
    saved = Adapter.load(folder)
    return replace(adapter, spans=saved.spans, about={**adapter.about, **saved.about})


def _of_file(path: Path, alpha: float | None) -> Adapter:
    """A LoRA from a file of tensors without a config beside it."""
    if alpha is not None and not 0 < alpha < math.inf:
        raise InputError(f"alpha: found {alpha}; allowed: a number above 0")
    tensors, metadata = _tensors_of(path)
    metadata.pop("format", None)
    origin = "(given)"
    if alpha is None:
        alpha, origin = ALPHA, "(assumed: the file does not say)"
        for name in ("lora_alpha", "alpha", "ss_network_alpha"):
            stated = metadata.get(name, "")
            if re.fullmatch(r"\d+(\.\d+)?", stated) and float(stated) > 0:
                alpha, origin = float(metadata.pop(name)), "(in its metadata)"
                break
    about = {"file": path.name, "alpha": f"{alpha:g} {origin}"}
    unused = [f"{counted(len(metadata), 'field')} of its metadata ({', '.join(metadata)})"]
    return adapter_of(path, tensors, alpha, about, unused if metadata else ())


def _tensors_of(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The file's tensors by name, and its metadata; refuses files that cannot be a LoRA."""
    content, metadata = content_of(path)
    named = {"the tensor": content} if isinstance(content, Tensor) else content
    faults: list[str] = []
    tensors: dict[str, Tensor] = {}
    for name, tensor in named.items() if isinstance(named, Mapping) else ():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            faults.append(f"{name!r}: found a {type(tensor).__name__}; allowed: a tensor")
        elif fault := tensor_fault(tensor):
            faults.append(f"{name}: {fault}")
        else:
            tensors[name] = tensor.detach()
    if faults:
        raise InputError(listing(f"{path} cannot be used", faults))
    if isinstance(content, Tensor) or not tensors:
        what = f"a {type(content).__name__} without tensors"
        if isinstance(content, Tensor):
            what = f"one bare tensor of shape {tuple(content.shape)}"
        raise InputError(
            f"{path}: found {what}; allowed: a dict of LoRA tensors by name. A vector is read as a "
            "vector"
        )
    if empty := [name for name, tensor in tensors.items() if not tensor.numel()]:
        raise InputError(
            f"{path}: {len(empty)} of {len(tensors)} tensors are empty (first: {empty[0]}, shape "
            f"{tuple(tensors[empty[0]].shape)}): DeepSpeed ZeRO-3 saved them without gathering "
            "them; save the adapter again with stage3_gather_16bit_weights_on_model_save: true, "
            "or let zero_to_fp32.py of the training checkpoint gather them"
        )
    flat = [name for name, tensor in tensors.items() if re.search("lora_[AB]", name)]
    if flat and all(tensors[name].ndim == 1 for name in flat):
        raise InputError(
            f"{path}: all {len(flat)} matrices have one axis (first: {flat[0]}, shape "
            f"{tuple(tensors[flat[0]].shape)}; allowed: two axes): shards of FSDP or DeepSpeed "
            "that were not gathered; save the adapter again from the full weights"
        )
    return tensors, metadata
