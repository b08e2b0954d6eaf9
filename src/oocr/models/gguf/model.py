"""A GGUF as a model of transformers, or refused by its header in one sentence."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oocr.errors import InputError
from oocr.io import command_line
from oocr.models.checkpoint import check_finite, check_keys
from oocr.models.gguf.header import GgufHeader, read_gguf_header
from oocr.models.gguf.split import split_parts
from oocr.models.quiet import quiet


def model_parts(path: Path) -> list[Path]:
    """The files of a GGUF model, from one of them, once their headers say that it can be converted.

    Raises:
        InputError: no such file, not a model, or one that transformers does not read.
    """
    parts = split_parts(read_gguf_header(path))
    header, path = parts[0], parts[0].path
    ways = {
        "adapter": f"; see `{command_line(['oocr', 'audit', path, '--model', 'BASE'])}`",
        "mmproj": "; give the GGUF of the language model, which lies beside it",
        "controlvector": f"; see `{command_line(['oocr', 'vector', path])}`",
    }
    if header.kind != "model":
        raise InputError(f"{path}: this is {header.what}, not a model{ways.get(header.kind, '')}")
    names = architectures()
    if header.architecture not in names:
        raise InputError(
            f"{path}: general.architecture: found {header.architecture!r}; allowed, as "
            f"transformers {version('transformers')} reads GGUF: {', '.join(names)}; or give the "
            "folder or Hugging Face id of the model that it was made from"
        )
    if "tokenizer.ggml.tokens" not in header.fields:
        raise InputError(f"{path}: it holds no tokenizer (tokenizer.ggml.tokens)")
    unread = [tensor for part in parts for tensor in part.tensors if not _is_read(tensor.type_id)]
    if unread:
        kinds = sorted({tensor.type_name for tensor in unread})
        raise InputError(
            f"{path}: {len(unread)} tensors are quantized as {', '.join(kinds)} (first: "
            f"{unread[0].name}), which gguf {version('gguf')} does not read; allowed: another "
            "quantization of the model (Q8_0, Q4_K_M, …)"
        )
    return [part.path for part in parts]


def architectures() -> list[str]:
    """`general.architecture` of the causal language models that transformers reads from GGUF."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS

    spelled = {"qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe"}
    spelled |= {"gpt_oss": "gpt-oss", "minimax_m2": "minimax-m2"}
    others = {"general", "tokenizer", "mistral", "t5", "umt5"}  # llama.cpp calls Mistral llama
    names = {*GGUF_CONFIG_MAPPING, *GGUF_CONFIG_ARCHS} - others
    return sorted(spelled.get(name, name) for name in names)


def _is_read(type_id: int) -> bool:
    """Whether the gguf package can dequantize a tensor's type."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    try:
        kind = GGMLQuantizationType(type_id)
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except (ValueError, KeyError, NotImplementedError):
        return False
    return True


def read_gguf_model(path: Path, given: Path, name: str) -> tuple[Any, Any, list[str]]:
    """Model (fp32), tokenizer, and what was left out of a GGUF; `given` names it in errors."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

    from oocr.models.gguf.config import config_of

    at: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    # The bar over GGUF tensors can't be turned off; it goes to stderr.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        try:
            header = read_gguf_header(path)
            config, left_out = config_of(header)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(path.parent, **at)
            model, info = AutoModelForCausalLM.from_pretrained(
                path.parent,
                config=config,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                trust_remote_code=False,
                **at,
            )
        except InputError:
            raise
        except Exception as error:  # gguf and transformers raise many types for a broken file
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise InputError(
                f"{given}: this {header.architecture} GGUF cannot be converted: transformers "
                f"{version('transformers')} says {type(error).__name__}: {error}"
            ) from error
    check_keys(str(given), model, info, config, f"this {header.architecture} GGUF")
    if unused := _unused(model, header, info):
        raise InputError(
            f"{given}: transformers' {type(model).__name__} has no place for {len(unused)} of its "
            f"{len(header.tensors)} tensors (first: {', '.join(unused[:3])}); without them it "
            "would compute something else"
        )
    check_finite(str(given), model)
    # The weights are plain fp32 now; without this the folder would be loaded as a quantized one.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = name
    return model, tokenizer, left_out


def _unused(model: Any, header: GgufHeader, info: Mapping[str, Any]) -> list[str]:
    """Tensors of the file that became no weight of the model."""
    from transformers import modeling_gguf_pytorch_utils as by_name
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS

    from oocr.models.gguf.rope import FACTORS

    if header.architecture in GGUF_CONFIG_ARCHS:
        return sorted(map(str, info.get("unexpected_keys") or ()))
    processor = by_name.TENSOR_PROCESSORS.get(header.architecture, by_name.TensorProcessor)
    names = by_name.get_gguf_hf_weights_map(model, processor(config=model.config.to_dict()))
    known = {*names, *FACTORS}
    listed = [tensor.name for tensor in header.tensors]
    return [name for name in listed if not {name, name.removesuffix(".weight")} & known]
