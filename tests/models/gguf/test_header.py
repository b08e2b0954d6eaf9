"""GGUF headers: what a file is told from them, and which files are refused by them."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import gguf as package
import numpy as np
import pytest

from oocr.errors import InputError
from oocr.models.gguf.header import Counted, read_gguf_header
from oocr.models.gguf.model import model_parts
from oocr.models.gguf.split import join_split, split_parts, split_stem
from tests.tiny.gguf import write_header, write_tiny_gguf

ROW = np.arange(64, dtype=np.float32)


def written(folder: Path, architecture: str | None = "llama", **more: Any) -> Path:
    fields = {key: value for key, value in more.items() if key != "tensors"}
    return write_header(folder / "x.gguf", architecture, fields, more.get("tensors", {"a": ROW}))


def test_the_header_says_what_the_gguf_package_reads(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", chat_template="{{ x }}")
    header, reader = read_gguf_header(path), package.GGUFReader(path)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF."):
            value, expected = header.fields[key], field.contents()
            if isinstance(value, Counted):
                assert value.count == len(expected), key
            else:
                assert (list(value) if isinstance(value, tuple) else value) == expected, key
    assert [(t.name, t.size, header.data_start + t.offset) for t in header.tensors] == [
        (str(t.name), int(t.n_bytes), int(t.data_offset)) for t in reader.tensors
    ]
    assert header.types == {"F32": len(header.tensors)}
    assert (header.architecture, header.kind, header.parts) == ("llama", "model", 1)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, tensors={"blk.0.ffn_down.weight": np.zeros((64, 1024), np.float32)})
    tracemalloc.start()
    read_gguf_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 250_000
    assert peak < 100_000


@pytest.mark.parametrize(
    ("architecture", "fields", "tensors", "kind"),
    [
        ("llama", {"general.type": "adapter"}, {"blk.0.x.lora_a": ROW}, "adapter"),
        ("llama", {"adapter.type": "lora"}, {"blk.0.x.lora_a": ROW}, "adapter"),
        ("clip", {}, {"v.patch_embd.weight": ROW}, "mmproj"),
        ("llama", {"general.type": "mmproj"}, {"v.x": ROW}, "mmproj"),
        (None, {"imatrix.datasets": ["a.txt"]}, {"blk.0.x.in_sum2": ROW}, "imatrix"),
        ("controlvector", {}, {}, "controlvector"),
        ("steeringvector", {}, {"direction.1": ROW}, "controlvector"),
        (None, {}, {"direction.1": ROW}, "controlvector"),
        ("llama", {"tokenizer.ggml.tokens": ["a"]}, {}, "vocab"),
        ("llama", {}, {"token_embd.weight": ROW}, "model"),
    ],
)
def test_what_a_gguf_is(
    tmp_path: Path, architecture: str | None, fields: Any, tensors: Any, kind: str
) -> None:
    path = write_header(tmp_path / "x.gguf", architecture, fields, tensors)
    header = read_gguf_header(path)
    assert header.kind == kind
    if kind != "model":
        with pytest.raises(InputError, match=r"x\.gguf: this is .*, not a model"):
            model_parts(path)


def test_a_lora_names_the_way_out(tmp_path: Path) -> None:
    path = written(tmp_path, **{"general.type": "adapter"})
    with pytest.raises(InputError, match=r"a LoRA in GGUF, not a model; see `oocr audit"):
        model_parts(path)


def test_architectures_and_quantizations_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found 'rwkv7'; allowed.* gemma3, .*llama"):
        model_parts(written(tmp_path, "rwkv7"))
    with pytest.raises(InputError, match="it holds no tokenizer"):
        model_parts(written(tmp_path))
    path = written(tmp_path, **{"tokenizer.ggml.tokens": ["a"]})
    data = path.read_bytes()
    for type_id in (99, int(package.GGMLQuantizationType.Q8_K)):
        table = data.index(b"a" + struct.pack("<IQI", 1, 64, 0))
        changed = bytearray(data)
        changed[table + 13 : table + 17] = struct.pack("<I", type_id)
        path.write_bytes(changed + bytes(400))
        name = "type 99" if type_id == 99 else "Q8_K"
        with pytest.raises(InputError, match=rf"1 tensors are quantized as {name} \(first: a\)"):
            model_parts(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04", r"not a GGUF file \(starts with b'PK"),
        (b"GGUF", "cut short or damaged at byte 4"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version: found 1; allowed: 2, 3"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60), "cut short or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "cut short or damaged"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_what_is_no_header_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_gguf_header(path)


def test_tensors_that_are_cut_off_are_found_by_the_header(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"cut short: it has \d+ bytes, its tensors need \d+"):
        read_gguf_header(path)


def parts_of(folder: Path, count: int = 3) -> list[Path]:
    names = [f"tiny-{n + 1:05}-of-{count:05}.gguf" for n in range(count)]
    return [write_tiny_gguf(folder / name, part=(n, count)) for n, name in enumerate(names)]


def test_parts_are_found_beside_each(tmp_path: Path) -> None:
    paths = parts_of(tmp_path)
    for path in paths:
        assert [header.path for header in split_parts(read_gguf_header(path))] == paths
        assert split_stem(path) == "tiny"
    paths[0].rename(tmp_path / "first.gguf")
    with pytest.raises(InputError, match=r"part 1 of 3 of a split GGUF, under another name"):
        split_parts(read_gguf_header(tmp_path / "first.gguf"))
    with pytest.raises(InputError, match=r"part 2 of 3 .*not beside it: tiny-00001-of-00003\.gguf"):
        model_parts(paths[1])
    (tmp_path / "first.gguf").rename(paths[2])
    with pytest.raises(InputError, match=r"not beside it: tiny-00001"):
        split_parts(read_gguf_header(paths[1]))
    paths[1].rename(paths[0])
    with pytest.raises(InputError, match=r"not beside it: tiny-00002"):
        split_parts(read_gguf_header(paths[0]))


def test_parts_that_changed_places_are_refused(tmp_path: Path) -> None:
    first, second = parts_of(tmp_path, 2)
    first.rename(tmp_path / "x")
    second.rename(first)
    (tmp_path / "x").rename(second)
    with pytest.raises(InputError, match="found part 2 of 2; its name says 1 of 2"):
        split_parts(read_gguf_header(first))


def test_split_parts_joined_are_the_whole(tmp_path: Path) -> None:
    whole = write_tiny_gguf(tmp_path / "whole.gguf")
    joined = tmp_path / "joined.gguf"
    join_split([read_gguf_header(path) for path in parts_of(tmp_path)], joined)
    both = [package.GGUFReader(path) for path in (whole, joined)]
    for one, other in zip(both[0].tensors, both[1].tensors, strict=True):
        assert one.name == other.name
        assert (one.data == other.data).all()
    fields = [set(reader.fields) for reader in both]
    assert fields[1] - fields[0] == {"split.no", "split.count"}
    assert not fields[0] - fields[1]
