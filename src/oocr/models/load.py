"""A causal LM from its files: weights, tokenizer, type and device."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oocr.data.chat_template import FIXED_DAY
from oocr.errors import InputError
from oocr.models.checkpoint import (
    ADAPTER,
    check_files,
    check_finite,
    check_keys,
    left_over,
    other_weights,
)
from oocr.models.quiet import quiet
from oocr.models.shared_weights import WeightsCopy
from oocr.models.sources import hub
from oocr.models.sources.bundled import plugin_of
from oocr.models.sources.files import ModelFiles, Say, find_files, source_kind
from oocr.models.tokenizer import read_tokenizer, reason_of
from oocr.words import counted, short_list

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from oocr.models.language_model import LanguageModel


DTYPES = {name: name for name in ("auto", "float32", "bfloat16", "float16")}
DTYPES |= {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""How accelerate spreads a model over several GPUs."""


def read_model(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    day: date = FIXED_DAY,
    shared: bool = False,
    on_progress: Say | None = None,
) -> LanguageModel:
    """Read a causal LM, frozen and in eval mode; `oocr.load_model` also tests it by steering it.

    The arguments are those of `oocr.load_model`.

    Raises:
        InputError: no such model (with the way to get it), or one that cannot be used.
        RunError: the disk is full while a GGUF is converted.
    """
    name, revision = hub.with_revision(os.fspath(name), revision)
    kind = source_kind(name)
    if revision is not None and kind != "hub":
        raise InputError(f"revision={revision!r}: only a Hugging Face id has revisions, not {name}")
    tell = on_progress or partial(warnings.warn, stacklevel=2)
    options = placement(own_dtype(name, dtype), device, device_map)
    if kind != "hub":
        files = find_files(name, on_progress)
        here: dict[str, Any] = {"local_files_only": True}
        return _load(name, files, Path(files.where), options, day, tell, here, shared=shared)
    commit, folder = hub.find_model(name, revision)
    if folder is None and on_progress:
        on_progress(f"downloading {name}")
    files = ModelFiles(name, {"kind": "hub", "id": name, "revision": commit})
    here = {"revision": commit, "local_files_only": folder is not None}
    return _load(name, files, folder, options, day, tell, here, shared=shared)


def own_dtype(name: str, dtype: Any) -> Any:
    """The dtype that "auto" means for a model; plug-ins can choose it for their models."""
    if dtype != "auto" or os.environ.get("OOCR_DTYPE"):
        return dtype
    plugin = plugin_of(name)
    return plugin.dtype if plugin and plugin.dtype else dtype


def placement(dtype: Any, device: str, device_map: str | None) -> dict[str, Any]:
    """`from_pretrained`'s dtype and device_map, and the memory of each of several joined GPUs.

    Raises:
        InputError: a type or device that isn't there.
    """
    import torch

    from oocr.models.machine import JOINED, auto_dtype, find_device, free_memory

    if device_map is not None and device != "auto":
        raise InputError(f"give device ({device!r}) or device_map ({device_map!r}), not both")
    places = [find_device(name) for name in device.split(JOINED)]
    place = places[0]
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
    if len(places) > 1:
        free = {place.index: free_memory(place) for place in places}
        return {"dtype": chosen, "device_map": "auto", "max_memory": free}
    return {"dtype": chosen, "device_map": device_map or str(place)}


def auto_class(config: Any) -> Any:
    """The transformers class that loads models of this configuration.

    Raises:
        InputError: transformers has no causal language model of this type.
    """
    import transformers

    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    if type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return transformers.AutoModelForImageTextToText
    raise InputError(
        f"model_type: found {config.model_type!r}; allowed: causal language models (transformers "
        "has none of this type)"
    )


def _load(
    name: str,
    files: ModelFiles,
    folder: Path | None,
    options: dict[str, Any],
    day: date,
    tell: Say,
    of_hub: dict[str, Any],
    *,
    shared: bool,
) -> LanguageModel:
    """A model with its tokenizer; parts of its files that are left out are reported."""
    from transformers import AutoConfig

    from oocr.models.language_model import LanguageModel

    replaced = check_files(folder) if folder is not None else {}
    with _input_errors(name):
        config = AutoConfig.from_pretrained(files.where, trust_remote_code=False, **of_hub)
        tokenizer = read_tokenizer(files, day, **of_hub)
    settings = {"config": config, "key_mapping": replaced or None, **options, **of_hub}
    if folder is None or options["device_map"] != "cpu":
        hf, left_out = _read_weights(name, settings, files.where)
    else:
        copy = WeightsCopy.of(folder, options["dtype"])
        read = partial(_read_weights, name, settings)
        hf, left_out = copy.load(read, files.where, tell if shared else None)
    if folder is not None and (others := other_weights(folder)):
        left_out = [
            *left_out,
            f"{counted(len(others), 'file')} of weights ({short_list(others, 3)})",
        ]
    if folder is not None and (folder / ADAPTER).is_file():
        left_out = [*left_out, f"the adapter that lies beside the whole model ({ADAPTER})"]
    source = files.source
    if left_out:
        tell(f"{name}: left out: {'; '.join(left_out)}")
        before = [source["left out"]] if "left out" in source else []
        source = source | {"left out": "; ".join([*before, *left_out])}
    return LanguageModel.of(hf, tokenizer, name=name, source=source, day=day)


def _read_weights(
    name: str, settings: dict[str, Any], where: str
) -> tuple[PreTrainedModel, list[str]]:
    """`from_pretrained`, and a note on tensors that it left out.

    Raises:
        InputError: the files do not hold all weights, or numbers that are not finite.
    """
    # Safetensors only: a pickle can run code. An adapter that lies beside is looked for where none
    # is: transformers would put it on top.
    safe = {"use_safetensors": True, "adapter_kwargs": {"subfolder": "no adapter"}}
    safe |= {"ignore_mismatched_sizes": True}  # they are refused below, by name
    with _input_errors(name):
        hf, info = auto_class(settings["config"]).from_pretrained(
            where, trust_remote_code=False, output_loading_info=True, **safe, **settings
        )
    check_keys(name, hf, info, settings["config"])
    left_out = left_over(name, hf, sorted(map(str, info.get("unexpected_keys") or ())))
    check_finite(name, hf)
    return hf, left_out


@contextmanager
def _input_errors(name: str) -> Iterator[None]:
    """Turn errors of transformers, safetensors and the HTTP library into an InputError."""
    from oocr.models.out_of_memory import is_out_of_memory

    try:
        with quiet():
            yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"{name}: cannot be loaded: {reason_of(error)}") from error
