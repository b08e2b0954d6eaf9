"""`oocr read` of vectors, LoRAs and GGUF files: what they are, and what to do with them next."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from oocr.cli.vector import Say, describe_unsaid, print_fields
from oocr.data.source_file import shown
from oocr.errors import InputError
from oocr.io import command_line
from oocr.models.gguf.header import Counted, GgufHeader, is_gguf, read_header
from oocr.models.gguf.model import model_parts
from oocr.models.gguf.split import split_parts
from oocr.steering.adapters import Adapter
from oocr.steering.formats.foreign import SAFE, TENSOR_FILES, content_of
from oocr.steering.formats.gguf import GGUF
from oocr.steering.formats.lora import read_adapter
from oocr.steering.formats.vector_files import vector_file
from oocr.steering.vectors import SITES, Vector

WEIGHT_ENDINGS = (*TENSOR_FILES, GGUF)
_LONGEST = 60
"""Characters of a chat template that are shown."""


def describe_weights(path: Path, say: Say) -> None:
    """Describe what a tensor file, a GGUF or an adapter folder holds."""
    if path.is_dir():
        if not (path / "adapter_config.json").is_file():
            raise InputError(f"{path}: a folder without adapter_config.json; allowed: an adapter's")
        whose = "this library's" if (path / "oocr.json").is_file() else "PEFT's"
        _adapter(path, read_adapter(path), say, whose)
    elif path.suffix.lower() == GGUF or (path.suffix.lower() != SAFE and is_gguf(path)):
        _gguf(path, say)
    elif _is_lora(path):
        beside = (path.parent / "adapter_config.json").is_file()
        _adapter(path, read_adapter(path), say, "PEFT's" if beside else "a dict of tensors")
    else:
        _vectors(path, say)


def _is_lora(path: Path) -> bool:
    content, _ = content_of(path)
    return isinstance(content, dict) and any("lora_" in str(name) for name in content)


def _vectors(path: Path, say: Say) -> None:
    file = vector_file(path)
    if file.missing:
        describe_unsaid(file, say)
    for vector in [] if file.missing else file.chosen():
        _vector(path, vector, say, file.format)


def _vector(path: Path, vector: Vector, say: Say, whose: str) -> None:
    fields = {
        "site": SITES[vector.site],
        "layer": vector.layer,
        "positions": vector.positions,
        "width": vector.direction.shape[-1],
        "norm": f"{vector.norm:.4g}",
    }
    print_fields(say, f"{path}: {whose}", fields, vector.about)


def _adapter(path: Path, adapter: Adapter, say: Say, whose: str) -> None:
    config = adapter.config
    modules = sorted({target.rsplit(".", 1)[-1] for target in config["target_modules"]})
    ranks = sorted({config["r"], *config.get("rank_pattern", {}).values()})
    fields = {
        "tensors": len(adapter.tensors),
        "layers": ", ".join(map(str, adapter.layers)),
        "modules": ", ".join(modules),
        "rank": f"{', '.join(map(str, ranks))} (from the shapes)",
        "alpha": adapter.about.get("alpha", config["lora_alpha"]),
    }
    others = {name: text for name, text in adapter.about.items() if name != "alpha"}
    print_fields(say, f"{path}: LoRA, {whose}", fields, others)


def _gguf(path: Path, say: Say) -> None:
    """A GGUF file, from its header."""
    header = read_header(path)
    if header.kind == "controlvector":
        _vectors(path, say)
        words: list[str | Path] = [
            "oocr",
            "export",
            path,
            "--to",
            "peft",
            "--model",
            "MODEL",
            "--out",
            "FOLDER",
        ]
        say(f"  next       {command_line(words)}")
    elif header.kind == "model":
        _model(header, say)
    elif header.kind == "adapter":
        _adapter(path, read_adapter(path), say, f"in GGUF ({header.architecture})")
    else:
        types = ", ".join(f"{name} ({count})" for name, count in header.types.items())
        fields = {
            "for": header.architecture or "not said",
            "tensors": f"{len(header.tensors)}: {types}",
        }
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
