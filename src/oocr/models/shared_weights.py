"""One copy of a model's weights for all processes of a machine.

transformers maps safetensors files, and copies no tensor that lies there as it is used: processes
that load one file share its pages. What is converted or joined while it is read would lie in each
process again. So the weights can be written to the user's cache as they are used, and mapped there.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from oocr.errors import InputError, RunError
from oocr.io import (
    DISK_RESERVE,
    cache_folder,
    is_kept,
    keep,
    key_of,
    lock_of,
    write_json,
    write_tensors,
)
from oocr.models.checkpoint import METADATA, WHOLE, safetensors_header, weight_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Say = Callable[[str], None]
Read = Callable[[str], "tuple[PreTrainedModel, list[str]]"]
"""Loads the weights of a folder or Hugging Face id, and says which tensors it left out."""

FILE_TYPES = {"torch.float32": "F32", "torch.bfloat16": "BF16", "torch.float16": "F16"}
"""Names of floating-point types in safetensors files."""

GENERATION = "generation_config.json"
RECORD = "copy.json"
"""File of a copy that says whose it is, and what loading the model's own files left out."""


@dataclass(frozen=True, slots=True)
class WeightsCopy:
    """A place in the cache for a model's weights as they are used.

    Attributes:
        source: the model's own folder.
        folder: the copy's.
        key: what the copy depends on; one with another key is outdated.
    """

    source: Path
    folder: Path
    key: str

    @staticmethod
    def of(source: Path, dtype: torch.dtype) -> WeightsCopy:
        """The copy of a folder's weights in this type."""
        source = source.resolve()
        place = sha256(str(source).encode()).hexdigest()[:12]
        name = f"{source.name[:80]}-{place}-{str(dtype).removeprefix('torch.')}"
        stats = [file.stat() for file in (source / "config.json", *weight_files(source))]
        files = [[stat.st_size, stat.st_mtime_ns] for stat in stats]
        key = key_of(files, version("transformers"))
        return WeightsCopy(source, cache_folder() / "weights" / name, key)

    def is_written(self) -> bool:
        """Whether the copy is complete."""
        return is_kept(self.folder, self.key)

    def load(self, read: Read, name: str, say: Say | None) -> tuple[PreTrainedModel, list[str]]:
        """The model by `read` from the copy if it is written, else from its own files (`name`).

        With `say` it is written first, unless the files themselves can be shared. One that does not
        load as the same weights is removed.
        """
        if self.is_written():
            return self._mapped(read)
        if say is None:
            return read(name)
        with lock_of(self.folder):
            if self.is_written():
                return self._mapped(read)
            hf, left_out = read(name)
            if is_mapped(hf, self.source):
                return hf, left_out
            say(f"writing the weights as {str(hf.dtype).removeprefix('torch.')}, once")
            try:
                self._write(hf, left_out)
                mapped, _ = self._mapped(read)
                if not _same_weights(hf, mapped):
                    raise InputError("they are read back otherwise")
            except (InputError, RunError) as error:
                shutil.rmtree(self.folder, ignore_errors=True)
                say(f"{self.folder}: each process holds weights of its own: {error}")
                return hf, left_out
            return mapped, left_out

    def _mapped(self, read: Read) -> tuple[PreTrainedModel, list[str]]:
        record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        hf, _ = read(str(self.folder))
        return hf, list(map(str, record["left out"]))

    def _write(self, hf: PreTrainedModel, left_out: Sequence[str]) -> None:
        """Write the weights of the loaded model; copies of deleted models are removed.

        Raises:
            RunError: there is no room for it.
        """
        by_place: dict[tuple[int, torch.Size], tuple[str, torch.Tensor]] = {}
        for name, tensor in hf.state_dict().items():
            by_place.setdefault((tensor.data_ptr(), tensor.shape), (name, tensor))  # tied: once
        tensors = {name: tensor.contiguous() for name, tensor in by_place.values()}
        root, size = self.folder.parent, sum(tensor.nbytes for tensor in tensors.values())
        _remove_orphans(root)
        free = shutil.disk_usage(root).free
        if free - size < DISK_RESERVE:
            raise RunError(f"{root}: {size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")

        def fill(folder: Path) -> None:
            write_tensors(folder / WHOLE, tensors, {"format": "pt"})
            write_json(folder / RECORD, {"source": str(self.source), "left out": [*left_out]})
            if hf.generation_config is not None:  # else it is looked for in a config.json
                hf.generation_config.to_json_file(folder / GENERATION)

        keep(self.folder, self.key, fill)


def _remove_orphans(root: Path) -> None:
    for record in root.glob(f"*/{RECORD}"):
        with suppress(OSError, ValueError, KeyError):
            if not Path(json.loads(record.read_text(encoding="utf-8"))["source"]).is_dir():
                shutil.rmtree(record.parent, ignore_errors=True)


def _same_weights(model: PreTrainedModel, other: PreTrainedModel) -> bool:
    tensors = dict(other.state_dict())
    return all(
        name in tensors and bool((tensors[name] == tensor).all())
        for name, tensor in model.state_dict().items()
    )


def is_mapped(hf: PreTrainedModel, folder: Path) -> bool:
    """Whether a loaded model's weights are those in its folder's files, none of them changed."""
    lying: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for file in weight_files(folder):
        tensors = [tensor for name, tensor in safetensors_header(file).items() if name != METADATA]
        lying.update((tensor["dtype"], tuple(tensor["shape"])) for tensor in tensors)
    used = Counter(
        (FILE_TYPES.get(str(weight.dtype), ""), tuple(weight.shape)) for weight in hf.parameters()
    )
    return used <= lying
