"""LoRAs in GGUF: the file of llama.cpp's `convert_lora_to_gguf.py` (`--lora`), read as an adapter.

Tensors `blk.<block>.<module>.weight.lora_a` [rank, in] and `.lora_b` [out, rank]. llama.cpp scales
their product by alpha / rank, as PEFT does; without an alpha it does not scale it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.io import command_line
from oocr.models.anatomy import HasAnatomy
from oocr.models.gguf.header import GgufHeader, read_gguf_header
from oocr.steering.adapters import Adapter
from oocr.steering.formats.lora_tensors import adapter_of
from oocr.steering.formats.tensor_files import tensor_fault
from oocr.words import counted

MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's name of a Linear -> transformers' in the blocks of `ARCHITECTURES`."""

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
PERMUTED = {"llama": {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}}
"""Architecture -> Linears whose rows llama.cpp keeps in another order, head by head, and the number
of their heads in the base model's configuration."""

_KEY = re.compile(r"blk\.(?P<block>\d+)\.(?P<module>\w+)\.weight\.lora_(?P<part>[ab])")
_USED = ("adapter.type", "adapter.lora.alpha")


def read_gguf_lora(
    path: str | Path, base: HasAnatomy | None = None, *, to_describe: bool = False
) -> Adapter:
    """Read a LoRA in GGUF; `base`: the model it is for, which must be known for some modules.

    `to_describe`: it is not put on a model, so that the order of rows does not matter; where the
    base must be known, `about["order"]` says so.

    Raises:
        InputError: not such a file, or a LoRA that cannot be read exactly; with the way out.
    """
    header = read_gguf_header(path)
    hint = "give the PEFT folder that it was converted from"
    if header.kind != "adapter":
        see = command_line(["oocr", "read", path])
        raise InputError(f"{path}: this is {header.what}, not a LoRA; see `{see}`")
    faults: list[str] = []
    if (kind := header.text("adapter.type")) != "lora":
        faults.append(f"adapter.type: found {kind!r}; allowed: 'lora'")
    if "adapter.alora.invocation_tokens" in header.fields:
        faults.append("adapter.alora.invocation_tokens: found; it acts only after some tokens")
    if header.architecture not in ARCHITECTURES:
        allowed = ", ".join(ARCHITECTURES)
        faults.append(f"general.architecture: found {header.architecture!r}; allowed: {allowed}")
    unordered: list[str] = []
    names = _peft_names(header, faults, unordered if base is None else None)
    if unordered and not to_describe:
        faults.append(
            f"{counted(len(unordered), 'tensor')} of queries and keys (first: {unordered[0]}): "
            "their rows are in llama.cpp's rotary order, which depends on the number of heads; "
            "name the base model (--model; read_adapter(…, base=model)), whose configuration says "
            "it"
        )
    if not header.tensors:
        faults.append("tensors: found none; allowed: pairs of lora_a and lora_b")
    if faults:
        raise InputError(listing(f"{path}: a LoRA in GGUF that is not read ({hint})", faults))
    alpha = header.number("adapter.lora.alpha")
    config = None if base is None else base.hf.config.get_text_config()
    tensors: dict[str, Tensor] = {}
    for name, tensor in _tensors_of(header).items():
        rows = _reordered(header, name, tensor, config)
        # PEFT scales by alpha / rank; without an alpha llama.cpp does not scale.
        scale = rows.shape[-1] if name.endswith("b") and not alpha else 1
        tensors[names[name]] = rows * scale
    stated = f"{alpha:g} (in the file)" if alpha else "not said: not scaled, as in llama.cpp"
    about = {"file": header.path.name, "alpha": stated}
    if repository := base_of(header):
        about["model"] = repository
    if unordered:
        about["order"] = "queries and keys as llama.cpp has them: its base is needed to use it"
    about |= {
        key: str(value)
        for key, value in header.fields.items()
        if key.startswith("adapter.") and key not in _USED
    }
    return adapter_of(header.path, tensors, alpha or 1.0, about)


def base_of(header: GgufHeader) -> str | None:
    """The Hugging Face id of the model that the LoRA was trained on, where the file says it."""
    url = header.text("general.base_model.0.repo_url") or ""
    match = re.fullmatch(r"https://huggingface\.co/([^/]+/[^/]+)", url)
    return match[1] if match else None


def _peft_names(
    header: GgufHeader, faults: list[str], unordered: list[str] | None
) -> dict[str, str]:
    """PEFT's name for each tensor; notes what is wrong, and whose rows' order needs the base."""
    names: dict[str, str] = {}
    for tensor in header.tensors:
        match = _KEY.fullmatch(tensor.name)
        if match is None or match["module"] not in MODULES:
            faults.append(
                f"{tensor.name}: found; allowed: blk.N.MODULE.weight.lora_a or lora_b, MODULE of "
                f"{', '.join(MODULES)}"
            )
        else:
            permuted = match["module"] in PERMUTED.get(str(header.architecture), ())
            if unordered is not None and permuted and match["part"] == "b":
                unordered.append(tensor.name)
            target = f"model.layers.{match['block']}.{MODULES[match['module']]}"
            part = match["part"].upper()
            names[tensor.name] = f"base_model.model.{target}.lora_{part}.weight"
    for name in names:
        stem, part = name[:-1], name[-1]
        if f"{stem}{'b' if part == 'a' else 'a'}" not in names:
            faults.append(f"{stem.removesuffix('.weight.lora_')}: found only lora_{part}")
    return names


def _reordered(header: GgufHeader, name: str, rows: Tensor, config: Any) -> Tensor:
    """A tensor, its rows in transformers' order by the number of heads in the base's config."""
    match = _KEY.fullmatch(name)
    heads_of = PERMUTED.get(str(header.architecture), {})
    if match is None or match["part"] != "b" or match["module"] not in heads_of or rows.ndim != 2:
        return rows
    if config is None:  # only to describe it
        return rows
    heads = int(getattr(config, heads_of[match["module"]]))
    if rows.shape[0] % (2 * heads):
        raise InputError(
            f"{header.path}: {name}: found {rows.shape[0]} rows; allowed: an even number for each "
            f"of the base model's {heads} heads"
        )
    return _halves(rows, heads)


def _halves(rows: Tensor, heads: int) -> Tensor:
    """Rows as transformers has them: of each head's rotary pairs the first halves, then the second.

    llama.cpp's converter puts the two of each pair beside each other.
    """
    return rows.reshape(heads, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


def _tensors_of(header: GgufHeader) -> dict[str, Tensor]:
    """The tensors in float32."""
    from gguf import GGUFReader, dequantize

    tensors: dict[str, Tensor] = {}
    for tensor in GGUFReader(header.path).tensors:
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise InputError(
                f"{header.path}: {tensor.name}: found {tensor.tensor_type.name}, which the gguf "
                "package does not read; allowed: F32, F16, BF16, Q8_0"
            ) from error
        tensors[str(tensor.name)] = torch.from_numpy(values.copy()).float()
        if fault := tensor_fault(tensors[str(tensor.name)]):
            raise InputError(f"{header.path}: {tensor.name}: {fault}")
    return tensors
