"""GGUF files, converted once to safetensors in the user's cache. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from oocr.errors import InputError
from oocr.models.cache import RECORD, build_once, cache_folder, is_complete, need_space

FORMAT = 1  # raise it when what is written changes; older folders are then left unused
TOKENIZER = "tokenizer.json"
BLOCK = 1 << 20

Progress = Callable[[str], None]


def converted_folder(name: str, sha256: str, cache: Path | None = None) -> Path | None:
    """The finished conversion of this GGUF, or None."""
    folder = _folder(name, sha256, cache or cache_folder())
    return folder if is_complete(folder) else None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def convert(
    source: Path | Sequence[Path],
    *,
    name: str,
    expected_sha256: str | None = None,
    cache: Path | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Convert a GGUF to a folder of safetensors (fp32), config and tokenizer, unless it is there.

    A conversion that was stopped leaves nothing behind; see `build_once`.

    Args:
        source: one GGUF, or the parts that, joined in order, are one.
        name: prefix of the folder's name.
        expected_sha256: of the whole GGUF; checked before anything is converted.
        cache: where to put it; default `cache_folder()`.
        on_progress: called with a few words at each stage.

    Raises:
        InputError: unreadable, corrupt or unsupported file, or another checksum than expected.
        RunError: the disk is full or not writable.
    """
    say = on_progress or (lambda _: None)
    cache = cache or cache_folder()
    parts = [source] if isinstance(source, Path) else list(source)
    if expected_sha256 and (done := converted_folder(name, expected_sha256, cache)):
        return done
    for part in parts:
        if not part.is_file():
            raise InputError(f"{part}: no such file")
    _check_magic(parts[0])
    say("verifying the checksum")
    digest = hashlib.sha256()
    for part in parts:
        for block in _blocks(part):
            digest.update(block)
    sha256 = digest.hexdigest()
    if expected_sha256 and sha256 != expected_sha256:
        raise InputError(
            f"{', '.join(map(str, parts))}: SHA-256 is {sha256}, expected {expected_sha256}. "
            "The file is damaged or another version; install or download it again"
        )
    final = _folder(name, sha256, cache)
    if is_complete(final):
        return final

    def fill(folder: Path) -> dict[str, Any]:
        return _write(parts, sha256, name, folder, say)

    return build_once(final, fill, say)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a converted folder, three times as fast as AutoTokenizer."""
    from transformers import PreTrainedTokenizerFast

    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / TOKENIZER),
        chat_template=record["chat_template"],
        **record["special_tokens"],
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No transformers progress bars, and only its errors; restored afterwards."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _write(
    parts: Sequence[Path], sha256: str, name: str, folder: Path, say: Progress
) -> dict[str, Any]:
    """Fill `folder`; returns what to record."""
    path = parts[0]
    if len(parts) > 1:
        say(f"joining {len(parts)} parts")
        need_space(sum(part.stat().st_size for part in parts), folder)
        path = folder / "joined.gguf"
        with path.open("wb") as out:
            for part in parts:
                for block in _blocks(part):
                    out.write(block)
    say("reading the GGUF (once, up to a minute)")
    model, tokenizer = _read(path, name)
    if len(parts) > 1:
        path.unlink()
    say("writing safetensors")
    weights = {p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()}
    need_space(sum(weights.values()) + (100 << 20), folder)
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
    }


def _read(path: Path, name: str) -> tuple[Any, Any]:
    """Model (fp32) and tokenizer of a GGUF."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

    at: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    # The bar over GGUF tensors can't be turned off; it goes to stderr.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(path.parent, **at)
            model, info = AutoModelForCausalLM.from_pretrained(
                path.parent,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                **at,
            )
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise InputError(_unreadable(path, error)) from error
        except Exception as error:  # gguf and transformers raise whatever a broken file leads to
            raise InputError(_unreadable(path, error)) from error
    if missing := sorted(info["missing_keys"]):
        raise InputError(f"{path}: {len(missing)} weights are missing (first: {missing[0]})")
    for key, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise InputError(f"{path}: weight {key} has values that are not finite")
    # The weights are plain fp32 now; without this the folder would be loaded as a quantized one.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = name
    return model, tokenizer


def _unreadable(path: Path, error: Exception) -> str:
    size = path.stat().st_size
    return (
        f"{path}: this GGUF ({size:,} bytes) cannot be converted. It is cut short, damaged, or of "
        f"an architecture that transformers does not read ({type(error).__name__}: {error})"
    )


def _check_magic(path: Path) -> None:
    start = next(_blocks(path), b"")[:4]
    if start != b"GGUF":
        raise InputError(f"{path}: not a GGUF file (starts with {start!r}, expected b'GGUF')")


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _folder(name: str, sha256: str, cache: Path) -> Path:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    return cache / f"{safe[:80]}-{sha256[:12]}-v{FORMAT}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
