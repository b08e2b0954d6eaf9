"""Models and tokenizers: bundled, from plug-ins, local folders, GGUF files, Hugging Face ids."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oocr.errors import InputError
from oocr.models import gguf
from oocr.models.bundled import BUNDLED, BundledModel, NamedModel, named_models, source_of
from oocr.models.cache import RECORD

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from oocr.models.language_model import LanguageModel

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""Files of which a tokenizer has at least one."""

DTYPES = {
    "auto": "auto",
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}


def read_model(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Read a causal LM, frozen and in eval mode; `oocr.load_model` also tests it by steering it.

    Args:
        name: a bundled or plug-in model's name ("nano"), a local folder, a .gguf file, or a Hugging
            Face id; the first of these that exists is taken.
        dtype: "auto" (see `oocr.models.machine`), "float32", "bfloat16", "float16".
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        device_map: spread the model over devices as accelerate does ("auto"); excludes `device`.
        revision: branch, tag or commit; only for a Hugging Face id.
        on_progress: called with a few words before each slow step.

    Raises:
        InputError: no such model (with the way to get it), or one that cannot be used.
        RunError: the disk is full while a GGUF is converted.
    """
    name = os.fspath(name)
    kind = _kind(name)
    if revision is not None and kind != "hub":
        raise InputError(f"revision={revision!r}: only a Hugging Face id has revisions, not {name}")
    options = placement(own_dtype(name, dtype), device, device_map)
    if kind == "named":
        named, plugin = named_models()[name], source_of(name)
        folder = _folder_of(named)
        source = {"path": str(folder), "license": named.license}
        source = {"kind": plugin.kind if plugin else kind, **source}
        return _build(name, str(folder), source, options, local_files_only=True)
    if kind == "bundled":
        model = BUNDLED[name]
        folder = _convert_bundled(model, on_progress)
        source = {"kind": kind, "origin": model.origin, "license": model.license}
        return _from_gguf(folder, name, source, options)
    path = Path(name).expanduser()
    if kind == "gguf":
        folder = gguf.convert(path, name=path.stem, on_progress=on_progress)
        return _from_gguf(folder, name, {"kind": kind, "path": str(path.resolve())}, options)
    if kind == "folder":
        _check_folder(path)
        source = {"kind": kind, "path": str(path.resolve())}
        return _build(name, str(path), source, options, local_files_only=True)
    commit, cached = find_on_hub(name, revision)
    if not cached and on_progress:
        on_progress(f"downloading {name}")
    source = {"kind": kind, "id": name, "revision": commit}
    return _build(name, name, source, options, revision=commit, local_files_only=cached)


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
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return "gguf"
        raise InputError(
            f"{name}: not a model. Give a .gguf file or the folder that has config.json"
        )
    pathlike = name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name
    if pathlike or path.suffix.lower() == ".gguf":
        raise InputError(f"{name!r}: no such file or folder")
    return "hub"


def own_dtype(name: str, dtype: Any) -> Any:
    """The dtype that "auto" means for a model; plug-ins can choose it for their models."""
    if dtype != "auto" or os.environ.get("OOCR_DTYPE"):
        return dtype
    plugin = source_of(name)
    return plugin.dtype if plugin and plugin.dtype else dtype


def _folder_of(model: NamedModel) -> Path:
    if not model.here:
        raise InputError(
            f"{model.name}: its files are not in this installation. Get it with: {model.install}"
        )
    return model.folder


def placement(dtype: Any, device: str, device_map: str | None) -> dict[str, Any]:
    """`from_pretrained`'s dtype and device_map.

    Raises:
        InputError: a type or device that isn't there.
    """
    import torch

    from oocr.models.machine import auto_dtype

    if device_map is not None and device != "auto":
        raise InputError(f"give device ({device!r}) or device_map ({device_map!r}), not both")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device={device!r}: not a device (cpu, cuda, cuda:1, mps)") from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device={device!r}: {torch.cuda.device_count()} CUDA devices here")
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device='mps': not available here")
    if isinstance(dtype, torch.dtype):
        chosen = dtype
    elif dtype in DTYPES:
        chosen = auto_dtype(place) if dtype == "auto" else getattr(torch, DTYPES[dtype])
    else:
        raise InputError(f"dtype={dtype!r}: allowed are {', '.join(DTYPES)}")
    if not chosen.is_floating_point:
        raise InputError(f"dtype={chosen}: not a floating-point type")
    return {"dtype": chosen, "device_map": device_map or str(place)}


def find_folder(name: str, say: Callable[[str], None] | None = None) -> tuple[str, bool]:
    """A model's folder or Hugging Face id, and whether it is a converted GGUF.

    Args:
        name: see `read_model`.
        say: called with a few words before each slow step.

    Raises:
        InputError: no such model.
    """
    kind, path = _kind(name), Path(name).expanduser()
    if kind == "bundled":
        return str(_convert_bundled(BUNDLED[name], say)), True
    if kind == "named":
        return str(_folder_of(named_models()[name])), False
    if kind == "gguf":
        return str(gguf.convert(path, name=path.stem, on_progress=say)), True
    if kind == "folder":
        _check_folder(path)
        return str(path), False
    return name, False


def _convert_bundled(model: BundledModel, say: Callable[[str], None] | None) -> Path:
    if done := gguf.converted_folder(model.name, model.sha256):
        return done
    parts = model.locate()
    if not parts:
        raise InputError(f"{model.name} is not installed. Get it with: {model.install}")
    return gguf.convert(parts, name=model.name, expected_sha256=model.sha256, on_progress=say)


def _from_gguf(
    folder: Path, name: str, source: dict[str, str], options: dict[str, Any]
) -> LanguageModel:
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    source |= {"sha256": record["sha256"]}
    tokenizer = gguf.load_tokenizer(folder)
    return _build(name, str(folder), source, options, tokenizer=tokenizer, local_files_only=True)


def _check_folder(path: Path) -> None:
    """Refuse a folder that is no model's, with the reason."""
    if (path / "adapter_config.json").is_file():
        try:
            base = json.loads((path / "adapter_config.json").read_text()).get(
                "base_model_name_or_path"
            )
        except (OSError, ValueError):
            base = None
        raise InputError(f"{path}: this is a PEFT adapter, not a model; its base model is {base!r}")
    if not (path / "config.json").is_file():
        files = sorted(path.glob("*.gguf"))
        hint = f"; did you mean {files[0]}?" if files else ""
        raise InputError(f"{path}: no config.json in this folder{hint}")


def _build(
    name: str,
    where: str,
    source: dict[str, str],
    options: dict[str, Any],
    *,
    tokenizer: Any = None,
    **hub: Any,
) -> LanguageModel:
    """`from_pretrained`, with its errors turned into InputError."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoTokenizer,
    )

    from oocr.models.language_model import LanguageModel

    try:
        with gguf.quiet():
            config = AutoConfig.from_pretrained(where, **hub)
            text = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
            auto = AutoModelForCausalLM if text else AutoModelForImageTextToText
            # Safetensors only: a pickle can run code.
            hf, info = auto.from_pretrained(
                where,
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                **options,
                **hub,
            )
            tokenizer = tokenizer or AutoTokenizer.from_pretrained(where, **hub)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise InputError(f"{name}: cannot be loaded: {error}") from error
    except Exception as error:  # safetensors and the HTTP library have their own
        raise InputError(f"{name}: cannot be loaded: {type(error).__name__}: {error}") from error
    for what in ("missing_keys", "mismatched_keys"):
        if keys := sorted(map(str, info.get(what) or ())):
            raise InputError(
                f"{name}: {len(keys)} weights of {type(hf).__name__} have {what.split('_')[0]} "
                f"values in its files (first: {keys[0]}); they would be random"
            )
    return LanguageModel.of(hf, tokenizer, name=name, source=source)


def load_tokenizer(
    name: str, *, revision: str | None = None, say: Callable[[str], None] | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of what `load_model` would load: from here, else from Hugging Face.

    Args:
        name: see `read_model`.
        revision: see `read_model`.
        say: called with a few words before each slow step.

    Raises:
        InputError: no such model, or its tokenizer cannot be had here.
    """
    from huggingface_hub import constants
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path = Path(name).expanduser()
    try:
        if path.is_file() and path.suffix.lower() == ".gguf":  # not worth converting its weights
            with gguf.quiet():
                return PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=path.name)
        where, converted = find_folder(name, say)
        if converted:
            tokenizer: Any = gguf.load_tokenizer(Path(where))
            return tokenizer
        here = has_tokenizer(where, revision)
        if not here and (Path(where).is_dir() or constants.HF_HUB_OFFLINE):
            # Without its files transformers may make an empty one.
            raise InputError(f"{name}: its tokenizer is not here")
        with gguf.quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                where, revision=revision, local_files_only=here
            )
    except InputError:
        raise
    except Exception as error:  # transformers and the HTTP library have many
        reason, *_ = [*str(error).strip().splitlines(), type(error).__name__]
        raise InputError(f"{name}: its tokenizer cannot be loaded: {reason}") from error
    return tokenizer


def has_tokenizer(where: str, revision: str | None) -> bool:
    """Whether a tokenizer's files are here; without them transformers may make an empty one."""
    from huggingface_hub import try_to_load_from_cache

    if Path(where).is_dir():
        return any((Path(where) / name).is_file() for name in TOKENIZER_FILES)
    paths = [try_to_load_from_cache(where, name, revision=revision) for name in TOKENIZER_FILES]
    return any(isinstance(path, str) for path in paths)


def find_on_hub(name: str, revision: str | None) -> tuple[str, bool]:
    """The commit of a model, and whether the local cache has all of it.

    A cached commit is taken as it is; `hf download` fetches a newer one.

    Raises:
        InputError: no such model, or it is not cached and cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    at = f" --revision {revision}" if revision else ""
    get = f"Get it with: hf download {name}{at} (or give the folder of a copy)"
    try:
        cached = snapshot_download(name, revision=revision, local_files_only=True)
    except HFValidationError as error:
        raise InputError(f"{name!r}: not a model name.{_suggest(name)} ({error})") from error
    except (OSError, ValueError):
        cached = None
    if cached is not None and _has_weights(Path(cached)):
        return Path(cached).name, True  # a snapshot's folder is named after its commit
    if constants.HF_HUB_OFFLINE:
        raise InputError(
            f"{name!r} is not in the local Hugging Face cache, and HF_HUB_OFFLINE is set."
            f"{_suggest(name)} {get}"
        )
    return _ask_hub(name, revision, get), False


def _has_weights(folder: Path) -> bool:
    """Whether a cached snapshot has its config and every safetensors file."""
    if not (folder / "config.json").is_file():
        return False
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((folder / file).is_file() for file in names)
    return (folder / "model.safetensors").is_file()


def _ask_hub(name: str, revision: str | None, get: str) -> str:
    """One short request before anything is downloaded; returns the commit."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(name, revision=revision, timeout=10)
    except GatedRepoError as error:
        raise InputError(
            f"{name!r} is gated: accept its licence at https://huggingface.co/{name} "
            "and log in with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{name!r}: no such model on Hugging Face (or it is private: hf auth login)."
            f"{_suggest(name)}"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"{name!r} has no revision {revision!r}") from error
    except Exception as error:  # the HTTP library's errors: no network, timeout, proxy, …
        raise InputError(
            f"{name!r} is not in the local Hugging Face cache, and Hugging Face cannot be reached "
            f"({type(error).__name__}: {error}).{_suggest(name)} {get}"
        ) from error
    files = {file.rfilename for file in info.siblings or ()}
    if "config.json" not in files:
        what = "a PEFT adapter" if "adapter_config.json" in files else "without config.json"
        raise InputError(f"{name!r} on Hugging Face is {what}, not a model that can be loaded")
    return str(info.sha)


def _suggest(name: str) -> str:
    here = (*BUNDLED, *named_models())
    close = difflib.get_close_matches(name.lower(), here, n=1, cutoff=0.6)
    known = f" Did you mean {close[0]!r}?" if close else ""
    return f"{known} Bundled models: {', '.join(here)}."
