"""GGUF files, converted once to safetensors in the user's cache. Imports nothing heavy."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oocr.errors import InputError, RunError
from oocr.io import cache_folder, lock_of, locked, sweep
from oocr.lfs import refuse_lfs_pointer
from oocr.models.gguf.header import is_gguf, read_gguf_header
from oocr.models.gguf.model import model_parts, read_gguf_model
from oocr.models.gguf.split import join_split
from oocr.models.quiet import quiet

FORMAT = 2  # raise it when what is written changes; older folders are then left unused
RECORD = "oocr.json"
"""File of a converted folder: its source, its files' sizes, the tokenizer's settings."""

_UNWRITABLE = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EEXIST")

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

    Other processes wait for the first. After an exception or Ctrl-C the unfinished folder is
    removed at once, after a kill by the next conversion.

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
        refuse_lfs_pointer(part)
    is_split = isinstance(source, Path) and len(parts) > 1
    say(f"verifying the checksum{f' of the {len(parts)} parts of this split GGUF' * is_split}")
    digest = hashlib.sha256()
    for block in _blocks(parts):
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


def is_complete(folder: Path) -> bool:
    """Whether every file that was built is still there, with its size."""
    try:
        files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _build_once(final: Path, fill: Callable[[Path], dict[str, Any]], say: Progress) -> None:
    """Let `fill` write a folder and return its record, unless another process did."""
    temporary = final.with_name(final.name + ".tmp")
    final.parent.mkdir(parents=True, exist_ok=True)
    sweep(final.parent, "*.tmp")
    waits = partial(say, "waiting for another process that is converting this model")
    with locked(lock_of(final), when_busy=waits):
        if is_complete(final):
            return
        for leftover in (temporary, final):  # we hold the lock: no process uses them
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


@contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a RunError that says what to do."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # safetensors reports a full disk as its own error, with the system's words in it.
        code = errno.errorcode.get(getattr(error, "errno", None) or 0)
        if code not in _UNWRITABLE and "No space left" not in str(error):
            raise
        raise RunError(
            f"{cache}: the converted model cannot be written: {error}. "
            "Free some space, or set OOCR_CACHE to a folder on another disk"
        ) from error


def converted_tokenizer(folder: Path) -> Any:
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
    """Fill `folder`; returns its record."""
    path = parts[0]
    if len(parts) > 1:
        say(f"joining {len(parts)} parts")
        _need_space(sum(part.stat().st_size for part in parts), folder)
        path = folder / "joined.gguf"
        if all(map(is_gguf, parts)):
            join_split([read_gguf_header(part) for part in parts], path)
        else:
            with path.open("wb") as out:
                out.writelines(_blocks(parts))
    say("reading the GGUF (once, up to a minute)")
    model, tokenizer, left_out = read_gguf_model(path, parts[0], name)
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
        "converter": f"oocr {version('oocr')}",
        "transformers": version("transformers"),
        "special_tokens": {
            key: str(value)
            for key, value in tokenizer.special_tokens_map.items()
            if key.endswith("_token") and value
        },
        "chat_template": tokenizer.chat_template,
        "left_out": left_out,
    }


def _blocks(paths: Sequence[Path]) -> Iterator[bytes]:
    """What files hold, one after the other, a megabyte at a time."""
    for path in paths:
        try:
            with path.open("rb") as file:
                yield from iter(partial(file.read, 1 << 20), b"")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _folder(name: str, sha256: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    return cache_folder() / "models" / f"{safe[:80]}-{sha256[:12]}-v{FORMAT}"
