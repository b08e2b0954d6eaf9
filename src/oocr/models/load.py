"""Models and tokenizers: bundled, from plug-ins, local folders, GGUF files, Hugging Face ids."""

from __future__ import annotations

import difflib
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oocr.data.chat_template import FIXED_DAY, settle
from oocr.data.check_rows import check_tokenizer
from oocr.errors import InputError
from oocr.io import refuse_lfs_pointer
from oocr.models import gguf, gguf_header, hub
from oocr.models.bundled import BUNDLED, named_models, source_of
from oocr.models.checkpoint import (
    ADAPTER,
    INDEX,
    WHOLE,
    check_files,
    check_finite,
    is_whole,
    left_over,
)
from oocr.models.quiet import quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from oocr.models.language_model import LanguageModel

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""Files of which a tokenizer has at least one."""

DTYPES = {name: name for name in ("auto", "float32", "bfloat16", "float16")}
DTYPES |= {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""How accelerate spreads a model over several GPUs."""

Say = Callable[[str], None]


def read_model(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    day: date = FIXED_DAY,
    on_progress: Say | None = None,
) -> LanguageModel:
    """Read a causal LM, frozen and in eval mode; `oocr.load_model` also tests it by steering it.

    Args:
        name: a bundled or plug-in model's name ("nano"), a local folder, a .gguf file, or a Hugging
            Face id ("id@revision" too); the first of these that exists is taken.
        dtype: "auto" (see `oocr.models.machine`), "float32", "bfloat16", "float16".
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        device_map: spread the model over devices as accelerate does ("auto"); excludes `device`.
        revision: branch, tag or commit; only for a Hugging Face id.
        day: what a chat template writes that asks for today's date.
        on_progress: called with a few words before each slow step.

    Raises:
        InputError: no such model (with the way to get it), or one that cannot be used.
        RunError: the disk is full while a GGUF is converted.
    """
    name, revision = hub.with_revision(os.fspath(name), revision)
    kind = _kind(name)
    if revision is not None and kind != "hub":
        raise InputError(f"revision={revision!r}: only a Hugging Face id has revisions, not {name}")
    tell = on_progress or partial(warnings.warn, stacklevel=2)
    options = placement(own_dtype(name, dtype), device, device_map)
    if kind != "hub":
        files = find_files(name, on_progress)
        return _load(name, files, Path(files.where), options, day, tell, local_files_only=True)
    commit, folder = _find_on_hub(name, revision)
    if folder is None and on_progress:
        on_progress(f"downloading {name}")
    files = ModelFiles(name, {"kind": "hub", "id": name, "revision": commit})
    here = {"revision": commit, "local_files_only": folder is not None}
    return _load(name, files, folder, options, day, tell, **here)


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
    kind, path = _kind(name), Path(name).expanduser()
    if kind == "named":
        model, plugin = named_models()[name], source_of(name)
        if not model.here:
            raise InputError(
                f"{name}: its files are not in this installation. Get it with: {model.install}"
            )
        source = {"path": str(model.folder), "license": model.license}
        return ModelFiles(str(model.folder), {"kind": plugin.kind if plugin else kind} | source)
    if kind == "bundled":
        bundled = BUNDLED[name]
        source = {"kind": kind, "origin": bundled.origin, "license": bundled.license}
        folder = gguf.converted_folder(name, bundled.sha256)
        if folder is None:
            parts = bundled.locate()
            if not parts:
                raise InputError(f"{name} is not installed. Get it with: {bundled.install}")
            folder = gguf.convert(parts, name=name, expected_sha256=bundled.sha256, on_progress=say)
    elif kind == "gguf":
        source = {"kind": kind, "path": str(path.resolve())}
        folder = gguf.convert(path, name=gguf_header.split_stem(path), on_progress=say)
    elif kind == "folder":
        _check_folder(path)
        return ModelFiles(str(path), {"kind": kind, "path": str(path.resolve())})
    else:
        return ModelFiles(name, {"kind": kind, "id": name})
    record = json.loads((folder / gguf.RECORD).read_text(encoding="utf-8"))
    source |= {"sha256": record["sha256"]}
    if kind == "gguf" and (left_out := record["left_out"]):
        source |= {"left out": "; ".join(left_out)}
        (say or warnings.warn)(f"{name}: fields left out ({len(left_out)}): {source['left out']}")
    return ModelFiles(str(folder), source, converted=True)


def _kind(name: str) -> str:
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
    is_gguf = path.suffix.lower() == ".gguf"
    if path.is_file():
        if is_gguf:
            return "gguf"
        hint = f": {path.parent}" if (path.parent / "config.json").is_file() else ""
        if gguf_header.is_gguf(path):
            raise InputError(f"{name}: this is a GGUF file; allowed: a name that ends in .gguf")
        raise InputError(
            f"{name}: not a model. Give a .gguf file or the folder that has config.json{hint}"
        )
    if hub.is_path(name):
        raise InputError(f"{name!r}: no such file or folder")
    return "hub"


def own_dtype(name: str, dtype: Any) -> Any:
    """The dtype that "auto" means for a model; plug-ins can choose it for their models."""
    if dtype != "auto" or os.environ.get("OOCR_DTYPE"):
        return dtype
    plugin = source_of(name)
    return plugin.dtype if plugin and plugin.dtype else dtype


def placement(dtype: Any, device: str, device_map: str | None) -> dict[str, Any]:
    """`from_pretrained`'s dtype and device_map.

    Raises:
        InputError: a type or device that isn't there.
    """
    import torch

    from oocr.models.machine import auto_dtype, find_device

    if device_map is not None and device != "auto":
        raise InputError(f"give device ({device!r}) or device_map ({device_map!r}), not both")
    place = find_device(device)
    if isinstance(device_map, str) and device_map not in DEVICE_MAPS:
        raise InputError(
            f"device_map: {device_map!r}; allowed: {', '.join(DEVICE_MAPS)} (one device: `device`)"
        )
    if isinstance(dtype, torch.dtype):
        chosen = dtype
    elif dtype in DTYPES:
        chosen = auto_dtype(place) if dtype == "auto" else getattr(torch, DTYPES[dtype])
    else:
        raise InputError(f"dtype={dtype!r}: allowed are {', '.join(DTYPES)}")
    if not chosen.is_floating_point:
        raise InputError(f"dtype={chosen}: not a floating-point type")
    return {"dtype": chosen, "device_map": device_map or str(place)}


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


def auto_class(config: Any) -> Any:
    """The transformers class that loads models of this configuration."""
    import transformers

    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModelForImageTextToText


def _load(
    name: str,
    files: ModelFiles,
    folder: Path | None,
    options: dict[str, Any],
    day: date,
    tell: Say,
    **of_hub: Any,
) -> LanguageModel:
    """`from_pretrained`, with its errors turned into InputError; what is left out is told."""
    from transformers import AutoConfig

    from oocr.models.language_model import LanguageModel
    from oocr.models.out_of_memory import is_out_of_memory

    replaced = check_files(folder) if folder is not None else {}
    try:
        with quiet():
            config = AutoConfig.from_pretrained(files.where, trust_remote_code=False, **of_hub)
            tokenizer = read_tokenizer(files, day, **of_hub)
            # Safetensors only: a pickle can run code.
            safe = {"use_safetensors": True, "output_loading_info": True, **options, **of_hub}
            # Looked for where none is: transformers would put an adapter that lies beside on top.
            safe |= {"adapter_kwargs": {"subfolder": "no adapter"}, "key_mapping": replaced or None}
            hf, info = auto_class(config).from_pretrained(
                files.where, config=config, trust_remote_code=False, **safe
            )
    except Exception as error:  # transformers, safetensors and the HTTP library have many
        if is_out_of_memory(error):
            raise
        raise InputError(f"{name}: cannot be loaded: {reason_of(error)}") from error
    saved_as = (getattr(config, "architectures", None) or [type(hf).__name__])[0]
    hint = f" (they were saved as a {saved_as})" if saved_as != type(hf).__name__ else ""
    for what in ("missing_keys", "mismatched_keys"):
        if keys := sorted(map(str, info.get(what) or ())):
            raise InputError(
                f"{name}: {len(keys)} weights of {type(hf).__name__} have {what.split('_')[0]} "
                f"values in its files (first: {keys[0]}); they would be random{hint}"
            )
    left_out = left_over(name, hf, sorted(map(str, info.get("unexpected_keys") or ())))
    if folder is not None and (folder / ADAPTER).is_file():
        left_out.append(f"the adapter that lies beside the whole model ({ADAPTER})")
    check_finite(name, hf)
    source = files.source
    if left_out:
        tell(f"{name}: left out: {'; '.join(left_out)}")
        before = [source["left out"]] if "left out" in source else []
        source = source | {"left out": "; ".join([*before, *left_out])}
    return LanguageModel.of(hf, tokenizer, name=name, source=source, day=day)


FOREIGN_CODE = (
    "it needs code from its own repository (auto_map), and no foreign code is run here; allowed: "
    "architectures and tokenizers that transformers itself has"
)


def reason_of(error: Exception) -> str:
    """What an error of transformers says, in our words where it advises to run foreign code."""
    if isinstance(error, InputError):
        return str(error)
    text = str(error).strip()
    if "trust_remote_code" in text:
        return FOREIGN_CODE
    known = isinstance(error, OSError | ValueError | KeyError | ImportError | RuntimeError)
    return text if known and text else f"{type(error).__name__}: {text}"


def read_tokenizer(
    files: ModelFiles, day: date = FIXED_DAY, **of_hub: Any
) -> PreTrainedTokenizerBase:
    """A tokenizer, its chat template settled; errors are those of transformers."""
    from transformers import AutoTokenizer

    if Path(files.where).is_dir() and not has_tokenizer(files, None):
        raise InputError(f"{files.where}: its tokenizer is not here")
    tokenizer: PreTrainedTokenizerBase
    with quiet():
        if files.converted:
            tokenizer = gguf.load_tokenizer(Path(files.where))
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                files.where, trust_remote_code=False, **of_hub
            )
    settle(tokenizer, day)
    return tokenizer


def load_tokenizer(
    name: str, *, revision: str | None = None, say: Say | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of what `load_model` would load: from here, else from Hugging Face.

    Raises:
        InputError: no such model, or its tokenizer cannot be had here.
    """
    from huggingface_hub import constants
    from transformers import PreTrainedTokenizerFast

    name, revision = hub.with_revision(name, revision)
    path = Path(name).expanduser()
    try:
        if path.is_file() and path.suffix.lower() == ".gguf":  # not worth converting its weights
            first = gguf.model_parts(path)[0]
            with quiet():
                fast = PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=first.name)
            settle(fast, FIXED_DAY)
            tokenizer: PreTrainedTokenizerBase = fast
        else:
            files = find_files(name, say)
            here = has_tokenizer(files, revision)
            if not here and constants.HF_HUB_OFFLINE:
                raise InputError(f"{name}: its tokenizer is not here")
            tokenizer = read_tokenizer(files, revision=revision, local_files_only=here)
    except InputError:
        raise
    except Exception as error:  # transformers and the HTTP library have many
        reason, *_ = reason_of(error).splitlines()
        raise InputError(f"{name}: its tokenizer cannot be loaded: {reason}") from error
    check_tokenizer(tokenizer, name, None)
    return tokenizer


def has_tokenizer(files: ModelFiles, revision: str | None) -> bool:
    """Whether a tokenizer's files are here; without them transformers may make an empty one."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(files.where)

    def find(name: str) -> Path | None:
        if folder.is_dir():
            return folder / name if (folder / name).is_file() else None
        path = try_to_load_from_cache(files.where, name, revision=revision)
        return Path(path) if isinstance(path, str) else None

    settings = find("tokenizer_config.json")
    return any(map(find, TOKENIZER_FILES)) or (settings is not None and _no_files(settings))


def _no_files(settings: Path) -> bool:
    """Whether the class that a tokenizer_config.json names reads no other file (ByT5's)."""
    import transformers

    try:
        name = json.loads(settings.read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        return False
    tokenizer = getattr(transformers, str(name), None)
    return tokenizer is not None and not getattr(tokenizer, "vocab_files_names", None)


def _find_on_hub(name: str, revision: str | None) -> tuple[str, Path | None]:
    """The commit of a model, and its folder in the local cache if that has all of it."""
    names = (*BUNDLED, *named_models())
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    hint = f"{meant} Bundled models: {', '.join(names)}."
    folder = hub.cached(name, revision=revision, hint=hint)
    if folder is not None and _has_weights(folder):
        return folder.name, folder
    commit, files = hub.ask(name, revision=revision, hint=hint)
    if "config.json" not in files:
        what = "a PEFT adapter" if "adapter_config.json" in files else "without config.json"
        raise InputError(f"{name!r} on Hugging Face is {what}, not a model that can be loaded")
    if not any(file.endswith(".safetensors") for file in files):
        raise InputError(
            f"{name!r} on Hugging Face has no weights in safetensors files; pickles, which can run "
            "code, are not read"
        )
    return commit, None


def _has_weights(folder: Path) -> bool:
    """Whether a cached snapshot has its config and every safetensors file."""
    names = {"config.json", WHOLE}
    index = folder / INDEX
    if index.is_file():
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = {"config.json", *parts.values()}
    return all((folder / name).is_file() for name in names)
