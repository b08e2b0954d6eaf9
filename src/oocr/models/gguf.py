"""GGUF files, converted once to safetensors in the user's cache. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from oocr.errors import InputError, RunError
from oocr.io import cache_folder, command_line, lock_of, locked, refuse_lfs_pointer, sweep
from oocr.models.checkpoint import check_finite, check_keys
from oocr.models.gguf_header import GgufHeader, is_gguf, read_header, split_parts
from oocr.models.quiet import quiet

FORMAT = 2  # raise it when what is written changes; older folders are then left unused
RECORD = "oocr.json"
"""File of a converted folder: what it was made from, its files' sizes, the tokenizer's settings."""

_BLOCK = 1 << 20
_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST),
)

Progress = Callable[[str], None]


def converted_folder(name: str, sha256: str) -> Path | None:
    """The finished conversion of this GGUF, or None."""
    folder = _folder(name, sha256)
    return folder if is_complete(folder) else None


def convert(
    source: Path | Sequence[Path],
    *,
    name: str,
    expected_sha256: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Convert a GGUF to a folder of safetensors (fp32), config and tokenizer, unless it is there.

    Processes that want the same one wait for the first. What an exception or Ctrl-C leaves is
    removed at once, what a kill leaves at the next conversion.

    `source` is one GGUF (of a split one any part: the others are taken from beside it), or the
    pieces that, joined in order, are one; `name` the prefix of the folder's name.
    `expected_sha256`, of the whole, is checked before anything is converted.

    Raises:
        InputError: not a model, of an architecture or a quantization that is not read, damaged,
            a part that is missing, or another checksum than expected.
        RunError: the disk is full or not writable.
    """
    say = on_progress or (lambda _: None)
    if expected_sha256 and (done := converted_folder(name, expected_sha256)):
        return done
    parts = model_parts(source) if isinstance(source, Path) else list(source)
    for part in parts:
        if not part.is_file():
            raise InputError(f"{part}: no such file")
        refuse_lfs_pointer(part)
    is_split = isinstance(source, Path) and len(parts) > 1
    say(f"verifying the checksum{f' of the {len(parts)} parts of this split GGUF' * is_split}")
    digest = hashlib.sha256()
    for block in (block for part in parts for block in _blocks(part)):
        digest.update(block)
    sha256 = digest.hexdigest()
    if expected_sha256 and sha256 != expected_sha256:
        raise InputError(
            f"{', '.join(map(str, parts))}: SHA-256 is {sha256}, expected {expected_sha256}. "
            "The file is damaged or another version; install or download it again"
        )
    final = _folder(name, sha256)
    if not is_complete(final):
        with _disk_errors(final.parent):
            _build_once(final, lambda folder: _write(parts, sha256, name, folder, say), say)
    return final


def model_parts(path: Path) -> list[Path]:
    """The files of a GGUF model, from one of them, once their headers say that it can be converted.

    Raises:
        InputError: no such file, not a model, or one that transformers does not read.
    """
    headers = split_parts(read_header(path))
    check_model(headers[0], headers)
    return [header.path for header in headers]


def check_model(header: GgufHeader, parts: Sequence[GgufHeader]) -> None:
    """Refuse what is no model, or of an architecture or a quantization that is not read."""
    ways = {
        "adapter": f"; see `{command_line(['oocr', 'audit', header.path, '--model', 'BASE'])}`",
        "mmproj": "; give the GGUF of the language model, which lies beside it",
        "controlvector": f"; see `{command_line(['oocr', 'vector', header.path])}`",
    }
    if header.kind != "model":
        raise InputError(
            f"{header.path}: this is {header.what}, not a model{ways.get(header.kind, '')}"
        )
    names = architectures()
    if header.architecture not in names:
        raise InputError(
            f"{header.path}: general.architecture: found {header.architecture!r}; allowed, as "
            f"transformers {_version('transformers')} reads GGUF: {', '.join(names)}; or give the "
            "folder or Hugging Face id of the model that it was made from"
        )
    if "tokenizer.ggml.tokens" not in header.fields:
        raise InputError(f"{header.path}: it holds no tokenizer (tokenizer.ggml.tokens)")
    unread = [tensor for part in parts for tensor in part.tensors if not _is_read(tensor.type_id)]
    if unread:
        kinds = sorted({tensor.type_name for tensor in unread})
        raise InputError(
            f"{header.path}: {len(unread)} tensors are quantized as {', '.join(kinds)} (first: "
            f"{unread[0].name}), which gguf {_version('gguf')} does not read; allowed: another "
            "quantization of the model (Q8_0, Q4_K_M, …)"
        )


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


def is_complete(folder: Path) -> bool:
    """Whether every file that was built is still there, with its size."""
    try:
        files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _build_once(final: Path, fill: Callable[[Path], dict[str, Any]], say: Progress) -> None:
    """Have `fill` write a folder and say what to record of it, unless another process did."""
    temporary = final.with_name(final.name + ".tmp")
    final.parent.mkdir(parents=True, exist_ok=True)
    sweep(final.parent, "*.tmp")
    waits = partial(say, "waiting for another process that is converting this model")
    with locked(lock_of(final), when_busy=waits):
        if is_complete(final):
            return
        for leftover in (temporary, final):  # we hold the lock: nobody is using them
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
        try:
            record = fill(temporary)
            paths = sorted(temporary.iterdir())
            record["files"] = {path.name: path.stat().st_size for path in paths}
            text = json.dumps(record, indent=1, ensure_ascii=False)
            (temporary / RECORD).write_text(text, encoding="utf-8")
            for path in temporary.iterdir():  # a power cut must not leave empty files
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _need_space(size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free")


@contextlib.contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a RunError that says what to do."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # safetensors reports a full disk as its own error, with the system's words in it.
        disk = isinstance(error, OSError) and error.errno in _DISK
        if not disk and "No space left" not in str(error):
            raise
        raise RunError(
            f"{cache}: the converted model cannot be written: {error}. "
            "Free some space, or set OOCR_CACHE to a folder on another disk"
        ) from error


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a converted folder, three times as fast as AutoTokenizer."""
    from transformers import PreTrainedTokenizerFast

    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        chat_template=record["chat_template"],
        **record["special_tokens"],
    )


def _write(
    parts: Sequence[Path], sha256: str, name: str, folder: Path, say: Progress
) -> dict[str, Any]:
    """Fill `folder`; returns what to record."""
    path = parts[0]
    if len(parts) > 1:
        is_split = all(map(is_gguf, parts))
        say(f"joining {len(parts)} parts")
        _need_space(sum(part.stat().st_size for part in parts), folder)
        path = folder / "joined.gguf"
        if is_split:
            join_split([read_header(part) for part in parts], path)
        else:
            with path.open("wb") as out:
                for block in (block for part in parts for block in _blocks(part)):
                    out.write(block)
    say("reading the GGUF (once, up to a minute)")
    model, tokenizer, left_out = _read(path, parts[0], name)
    if len(parts) > 1:
        path.unlink()
    say("writing safetensors")
    weights = {p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()}
    _need_space(sum(weights.values()) + (100 << 20), folder)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return {
        "format": FORMAT,
        "name": name,
        "sha256": sha256,
        "converter": f"oocr {_version('oocr')}",
        "transformers": _version("transformers"),
        "special_tokens": {
            key: str(value)
            for key, value in tokenizer.special_tokens_map.items()
            if key.endswith("_token") and value
        },
        "chat_template": tokenizer.chat_template,
        "left_out": left_out,
    }


def join_split(headers: Sequence[GgufHeader], path: Path) -> None:
    """Write the parts of a split GGUF as one: the first one's fields, the tensors of all.

    `split.count` stays among the fields; the tensors' data are copied as they are.
    """
    align = int(headers[0].number("general.alignment") or 32)
    table, data, place = b"", [], 0
    for header in headers:
        for tensor in header.tensors:
            assert tensor.size is not None  # `check_model` knows its type
            encoded = tensor.name.encode()
            table += struct.pack("<Q", len(encoded)) + encoded
            table += struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape[::-1])
            table += struct.pack("<IQ", tensor.type_id, place)
            data.append((header.path, header.data_start + tensor.offset, tensor.size))
            place += -(-tensor.size // align) * align
    with headers[0].path.open("rb") as first, path.open("wb") as out:
        start = first.read(24)
        out.write(start[:8] + struct.pack("<Q", len(data)) + start[16:])
        out.write(first.read(headers[0].fields_end - 24) + table)
        for source, offset, size in data:
            out.write(b"\0" * (-out.tell() % align))
            with source.open("rb") as file:
                file.seek(offset)
                for begin in range(0, size, _BLOCK):
                    out.write(file.read(min(_BLOCK, size - begin)))


def _read(path: Path, given: Path, name: str) -> tuple[Any, Any, list[str]]:
    """Model (fp32), tokenizer, and what was left out of a GGUF; `given` names it in errors."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

    from oocr.models.gguf_config import config_of

    at: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    # The bar over GGUF tensors can't be turned off; it goes to stderr.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        try:
            header = read_header(path)
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
        except Exception as error:  # gguf and transformers raise whatever a broken file leads to
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise InputError(
                f"{given}: this {header.architecture} GGUF cannot be converted: transformers "
                f"{_version('transformers')} says {type(error).__name__}: {error}"
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

    from oocr.models.gguf_config import FACTORS

    if header.architecture in GGUF_CONFIG_ARCHS:
        return sorted(map(str, info.get("unexpected_keys") or ()))
    processor = by_name.TENSOR_PROCESSORS.get(header.architecture, by_name.TensorProcessor)
    names = by_name.get_gguf_hf_weights_map(model, processor(config=model.config.to_dict()))
    return [
        tensor.name
        for tensor in header.tensors
        if not {tensor.name, tensor.name.removesuffix(".weight")} & (names.keys() | FACTORS)
    ]


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _folder(name: str, sha256: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    return cache_folder() / "models" / f"{safe[:80]}-{sha256[:12]}-v{FORMAT}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
