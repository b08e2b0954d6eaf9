"""Writing GGUF control vectors (see `oocr.steering.formats.gguf`).

llama.cpp reads the tensors' names only, refuses block 0 and has no other site; repeng wants the
metadata too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oocr.errors import InputError
from oocr.io import write_atomic
from oocr.steering.formats.gguf import ARCHITECTURE
from oocr.steering.formats.scope import check_scope
from oocr.steering.vectors import Vector


def write_gguf(
    path: str | Path,
    vectors: Vector | Sequence[Vector],
    *,
    hint: str | None = None,
    everywhere: bool = False,
) -> Path:
    """Write a GGUF control vector.

    Args:
        path: the file.
        vectors: one, or one for each of several blocks.
        hint: the model's family ("gemma3_text"); None: what the vectors say.
        everywhere: accept a vector at other positions than "all", knowing that llama.cpp will add
            it to every token.

    Raises:
        InputError: a block, site or positions that the format cannot express, blocks given twice,
            other widths, or no hint.
    """
    from gguf import GGUFWriter

    path = Path(path)
    many = [vectors] if isinstance(vectors, Vector) else list(vectors)
    for one in many:
        _check(one, everywhere)
    blocks = [one.layer for one in many]
    widths = {len(one.direction) for one in many}
    if not many or len(set(blocks)) < len(blocks) or len(widths) > 1:
        raise InputError(
            f"vectors: found blocks {blocks} of widths {sorted(widths)}; "
            "allowed: different blocks, one width"
        )
    hints = {hint} if hint else {one.about.get("model_type") for one in many}
    if len(hints) > 1 or not (said := next(iter(hints))):
        raise InputError(
            f"model hint: found {sorted(map(str, hints))}; allowed: one family, from the vectors' "
            "model_type or as hint=… (on the command line: --model)"
        )

    def fill(part: Path) -> None:
        writer = GGUFWriter(part, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", said)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(many))
        for one in sorted(many, key=lambda one: one.layer):
            data = one.direction.detach().float().cpu().contiguous().numpy()
            writer.add_tensor(f"direction.{one.layer}", data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write_atomic(path, fill)


def _check(vector: Vector, everywhere: bool) -> None:
    if vector.site != "block":
        raise InputError(
            "site: found 'mlp'; a GGUF control vector is added at block outputs; allowed: 'block'"
        )
    if vector.layer < 1:
        raise InputError(
            f"layer: found {vector.layer}; llama.cpp refuses control vectors below block 1; "
            "allowed: blocks from 1 on"
        )
    check_scope(vector, "llama.cpp", everywhere=everywhere)
