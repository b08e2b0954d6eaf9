"""`oocr read` of vectors, LoRAs and GGUF files: their contents, and the next command."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from oocr.cli.vector import Say, describe_vectors, print_fields
from oocr.data.source_file import shown
from oocr.errors import InputError
from oocr.io import command_line
from oocr.models.gguf.header import Counted, GgufHeader, read_gguf_header
from oocr.models.gguf.model import model_parts
from oocr.models.gguf.split import split_parts
from oocr.steering.formats.adapter_config import CONFIG, inner_adapter
from oocr.steering.formats.gguf_lora import read_gguf_lora
from oocr.steering.formats.gguf_vector import GGUF, is_gguf_file
from oocr.steering.formats.lora import read_adapter
from oocr.steering.formats.tensor_files import TENSOR_FILES, content_of
from oocr.steering.formats.vector_layouts import read_vector_file

WEIGHT_ENDINGS = (*TENSOR_FILES, GGUF)
_LONGEST = 60
"""Shown characters of a chat template."""


def describe_weights(path: Path, say: Say) -> None:
    """Describe what a tensor file, a GGUF or an adapter folder holds."""
    has_config = ((path if path.is_dir() else path.parent) / CONFIG).is_file()
    if path.is_dir():
        if not has_config:
            if (path / "config.json").is_file():
                see = command_line(["oocr", "doctor", path])
                raise InputError(f"{path}: this is a model's folder; see: {see}")
            hint = inner_adapter(path)
            raise InputError(f"{path}: a folder without {CONFIG}; allowed: an adapter's{hint}")
        _adapter(path, say, "this library's" if (path / "oocr.json").is_file() else "PEFT's")
    elif is_gguf_file(path):
        _gguf(path, say)
    elif _is_lora(path):
        _adapter(path, say, "PEFT's" if has_config else "a dict of tensors")
    else:
        describe_vectors(read_vector_file(path), say)


def _is_lora(path: Path) -> bool:
    content, _ = content_of(path)
    return isinstance(content, dict) and any("lora_" in str(name) for name in content)


def _adapter(path: Path, say: Say, origin: str) -> None:
    adapter = read_gguf_lora(path, to_describe=True) if is_gguf_file(path) else read_adapter(path)
    fields = {"tensors": len(adapter.tensors), **adapter.facts}
    fields["rank"] = f"{fields['rank']} (from the shapes)"
    others = {name: text for name, text in adapter.about.items() if name != "alpha"}
    print_fields(say, f"{path}: LoRA, {origin}", fields, others)


def _gguf(path: Path, say: Say) -> None:
    """A GGUF file, from its header."""
    header = read_gguf_header(path)
    if header.kind == "controlvector":
        describe_vectors(read_vector_file(path), say)
        options = ["--to", "peft", "--model", "MODEL", "--out", "FOLDER"]
        say(f"  next       {command_line(['oocr', 'export', path, *options])}")
    elif header.kind == "model":
        _model(header, say)
    elif header.kind == "adapter":
        _adapter(path, say, f"in GGUF ({header.architecture})")
    else:
        types = ", ".join(f"{name} ({count})" for name, count in header.types.items())
        tensors = f"{len(header.tensors)}: {types}"
        fields = {"for": header.architecture or "not said", "tensors": tensors}
        print_fields(say, f"{path}: {header.what}", fields)


def _model(given: GgufHeader, say: Say) -> None:
    path, parts = given.path, split_parts(given)
    header = parts[0]
    architecture, types = header.architecture, Counter[str]()
    for part in parts:
        types.update(part.types)
    sizes = {"blocks": "block_count", "width": "embedding_length", "positions": "context_length"}
    template = header.text("tokenizer.chat_template")
    tokenizer = [header.text("tokenizer.ggml.model"), header.text("tokenizer.ggml.pre")]
    if isinstance(tokens := header.fields.get("tokenizer.ggml.tokens"), Counted):
        tokenizer.append(f"{tokens.count} tokens")
    fields = {
        "name": header.text("general.name") or "not said",
        "weights": f"{sum(part.parameters for part in parts) / 1e6:,.1f}M",
        "types": ", ".join(f"{name} ({count})" for name, count in types.most_common()),
        **{
            name: header.fields[f"{architecture}.{key}"]
            for name, key in sizes.items()
            if f"{architecture}.{key}" in header.fields
        },
        "tokenizer": ", ".join(word for word in tokenizer if word) or "none",
        "template": "none" if template is None else shown(template, _LONGEST),
    }
    if len(parts) > 1:
        fields["split"] = f"into {len(parts)} parts, which lie beside each other"
    print_fields(say, f"{path}: {header.what}", fields)
    model_parts(path)
    say(f"  next       {command_line(['oocr', 'doctor', path])}")
