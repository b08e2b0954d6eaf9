"""A user's file: its text or YAML data with line numbers, and all its errors in one message."""

from __future__ import annotations

import bz2
import codecs
import difflib
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from oocr.errors import InputError
from oocr.lfs import refuse_lfs_pointer
from oocr.words import counted, first_line

COMPRESSED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
"""First bytes of a compressed file -> its decompressor."""
FOREIGN = {
    b"\x28\xb5\x2f\xfd": "a file compressed by zstd; unpack it first: zstd -d",
    b"PK\x03\x04": "a zip archive (as .xlsx, .pt, .npz): unpack it, or save it as CSV",
    b"GGUF": "a GGUF, which holds tensors",
    b"ARROW1": "an Arrow file: save the table as Parquet or JSONL",
    b"\xff\xff\xff\xff": "an Arrow stream: save the dataset as Parquet (to_parquet) or JSONL",
    b"<!doctype": "a web page, perhaps in place of the file: download it as raw",
    b"<html": "a web page, perhaps in place of the file: download it as raw",
}
"""First bytes of files without rows -> their format in words."""
UNICODE = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte-order mark -> encoding; the mark of UTF-16 begins that of UTF-32."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text without a byte-order mark, and what was corrected in decoding it."""

    text: str
    mended: tuple[str, ...] = ()


def file_bytes(path: Path) -> bytes:
    """The decompressed bytes of a file; InputError: missing, a folder, or not a file of rows."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        saved = (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()
        hint = ", as Dataset.to_parquet writes from this dataset" * saved
        raise InputError(f"{path}: this is a folder; a file is wanted{hint}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: cannot be read: {error}") from error
    refuse_lfs_pointer(path, data)
    while unpack := next((COMPRESSED[mark] for mark in COMPRESSED if data.startswith(mark)), None):
        try:
            data = unpack(data)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise InputError(
                f"{path}: cannot be unpacked, cut short or damaged ({error})"
            ) from None
    for mark, words in FOREIGN.items():
        start = data[:60].lstrip().lower() if mark.startswith(b"<") else data
        if start.startswith(mark):
            raise InputError(f"{path}: file: found {words}; allowed: text, or Parquet")
    return data


def file_text(path: Path) -> Text:
    """Read a text file; InputError: see `file_bytes`, or it is not UTF-8 (the line is named)."""
    return decoded(path, file_bytes(path))


def decoded(path: Path, data: bytes) -> Text:
    """The text of a file's bytes: UTF-8, or UTF-16 or -32 with a byte-order mark."""
    mark = next((mark for mark in UNICODE if data.startswith(mark)), b"")
    encoding = UNICODE.get(mark, "utf-8")
    body = data[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].decode(encoding, "replace").count("\n") + 1
        raise InputError(
            f"{path}:{line}: encoding: found the byte 0x{body[error.start]:02x}, which is not "
            f"{encoding.upper()}; allowed: UTF-8 (of Excel: save as CSV UTF-8)"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{path}:{line}: encoding: found the byte 0x00; it looks like UTF-16 without a "
            "byte-order mark, or is no text; allowed: UTF-8"
        )
    cr = "\r" in text and "\n" not in text
    mended = {
        "byte-order mark dropped": mark == codecs.BOM_UTF8,
        f"read as {encoding[:6].upper()}": encoding != "utf-8",
        "line ends are CR LF": "\r\n" in text,
        "line ends are CR": cr,
        "no newline at the end": text[-1:] not in ("", "\n", "\r") and not text.isspace(),
    }
    text = text.replace("\r", "\n") if cr else text
    return Text(text, tuple(words for words, is_so in mended.items() if is_so))


SHOWN = 20
NO_VALUE = object()
"""Marks a missing value."""


@dataclass
class Problems:
    """Everything wrong with one file."""

    path: Path
    lines: list[str] = field(default_factory=list)
    unit: str = ""

    def add(self, line: int, name: str, seen: object, allowed: str) -> None:
        """Note one problem; the line is a row's number if `unit` is "row", and 0: the file's."""
        where = (
            f"{self.path}:{f' {self.unit} ' * bool(self.unit)}{line}" if line else f"{self.path}"
        )
        self.lines.append(f"{where}: {name}: found {shown(seen)}; allowed: {allowed}")

    def raise_if_any(self) -> None:
        """Refuse the file if anything is wrong: an InputError with the first problems."""
        if self.lines:
            raise InputError(listing(f"{self.path} cannot be used", self.lines))


def listing(title: str, lines: list[str]) -> str:
    """A title with its count, the first lines and how many more there are."""
    more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n  ".join([f"{title}: {counted(len(lines), 'problem')}", *lines[:SHOWN], *more])


def nearest(key: str, names: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """The names most similar to a key, ignoring case; empty: none is similar enough."""
    listed = list(names)
    near = difflib.get_close_matches(
        key.strip().lower(), [name.lower() for name in listed], n=1, cutoff=cutoff
    )
    return [name for name in listed if name.lower() in near]


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """A message about a key that is not allowed, with the nearest allowed key."""
    names = list(allowed)
    meant = nearest(key, names)
    hint = f"did you mean {meant[0]!r}? " if meant else ""
    return f"{hint}The keys are {', '.join(names)}"


def shown(value: object, limit: int = 90) -> str:
    """A value as an error message shows it: quoted, and cut when long."""
    if value is NO_VALUE:
        return "nothing"
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` for JSON; ValueError: a key occurs twice."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice")
    return dict(pairs)


Place = tuple[str | int, ...]
"""Keys and list indices that lead to a part of a YAML document."""


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text as plain Python values, and as nodes with line numbers."""

    data: Any
    tree: yaml.Node | None

    def line(self, *place: str | int) -> int:
        """The line of a place, or of its innermost part that exists."""
        node = self.tree
        line = node.start_mark.line + 1 if node else 1
        for part in place:
            if isinstance(node, yaml.MappingNode):
                match = next(((k, v) for k, v in node.value if k.value == str(part)), None)
                if match is None:
                    return line
                line, node = match[0].start_mark.line + 1, match[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                if part >= len(node.value):
                    return line
                node = node.value[part]
                line = node.start_mark.line + 1
        return line


def repeated(node: yaml.Node | None) -> Iterator[tuple[int, str, int]]:
    """Line, key and first line of keys given twice, of which YAML would silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from repeated(entry)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if str(key.value) in seen:
                yield line, str(key.value), seen[str(key.value)]
            seen.setdefault(str(key.value), line)
            yield from repeated(value)


def yaml_document(path: Path) -> Document:
    """One YAML document of plain values; InputError: unreadable, no YAML, or a key given twice."""
    text = file_text(path).text
    problems = Problems(path)
    document = Document(None, None)
    try:
        document = Document(yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or first_line(error)
        line = mark.line + 1 if mark else 1
        problems.add(line, "file", NO_VALUE, f"YAML of plain values ({reason})")
    except (RecursionError, ValueError) as error:  # e.g. a date that does not exist
        problems.add(1, "file", NO_VALUE, f"YAML of plain values ({error})")
    for line, key, first in repeated(document.tree):
        problems.add(line, key, "this key again", f"each key once; line {first} has it too")
    problems.raise_if_any()
    return document
