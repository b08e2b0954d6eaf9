"""A GGUF that is split into several files: its parts, and the whole that they are."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

from oocr.errors import InputError
from oocr.models.gguf.header import GgufHeader, read_gguf_header

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})", re.IGNORECASE)


def split_parts(header: GgufHeader) -> list[GgufHeader]:
    """The headers of all files of a split model, in order; of one that isn't split its own.

    Raises:
        InputError: a part is not beside this one, or is of another model.
    """
    if header.parts == 1:
        return [header]
    path, count = header.path, header.parts
    number = int(header.number("split.no") or 0) + 1
    match = _PART.fullmatch(path.stem)
    if match is None or int(match["count"]) != count:
        raise InputError(
            f"{path}: this is part {number} of {count} of a split GGUF, under another name; "
            f"allowed: NAME-{number:05}-of-{count:05}.gguf beside the other parts, or one file "
            "(llama-gguf-split --merge)"
        )
    names = [
        f"{match['stem']}-{part:05}-of-{count:05}{path.suffix}" for part in range(1, count + 1)
    ]
    if missing := [name for name in names if not (path.parent / name).is_file()]:
        more = f", … ({len(missing)} parts)" if len(missing) > 3 else ""
        raise InputError(
            f"{path}: this is part {number} of {count} of a split GGUF; not beside it: "
            f"{', '.join(missing[:3])}{more}"
        )
    parts = [read_gguf_header(path.parent / name) for name in names]
    for place, part in enumerate(parts):
        if (part.number("split.no"), part.parts) != (place, count):
            raise InputError(
                f"{part.path}: found part {int(part.number('split.no') or 0) + 1} of {part.parts}; "
                f"its name says {place + 1} of {count}"
            )
    tensors = sum(len(part.tensors) for part in parts)
    whole = header.number("split.tensors.count")
    if whole is not None and tensors != whole:
        raise InputError(
            f"{path}: split.tensors.count: found {int(whole)}; the {count} parts hold {tensors}"
        )
    return parts


def split_stem(path: Path) -> str:
    """A file's name without its ending and without `-00001-of-00002`."""
    match = _PART.fullmatch(path.stem)
    return match["stem"] if match else path.stem


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
                for begin in range(0, size, 1 << 20):
                    out.write(file.read(min(1 << 20, size - begin)))
