"""Which of this process's memory is a file's, mapped (Linux)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from oocr.models.language_model import LanguageModel

SMAPS = Path("/proc/self/smaps")
_HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ +(.*)$")


@dataclass(frozen=True)
class MappedFile:
    """Address ranges of one file, and the bytes there that this process copied to change them."""

    ranges: list[range]
    changed: int

    @staticmethod
    def of(file: Path) -> MappedFile:
        ranges: list[range] = []
        changed, here = 0, False
        for line in SMAPS.read_text().splitlines():
            if head := _HEAD.match(line):
                here = head[3] == str(file.resolve())
                if here:
                    ranges.append(range(int(head[1], 16), int(head[2], 16)))
            elif here and line.startswith("Anonymous:"):
                changed += int(line.split()[1]) * 1024
        return MappedFile(ranges, changed)

    def holds(self, address: int, size: int) -> bool:
        return any(address in part and address + size - 1 in part for part in self.ranges)


def unshared(model: LanguageModel, file: Path) -> tuple[list[str], int]:
    """Weights of a model that lie elsewhere than in the mapped file, and bytes changed in it."""
    mapped = MappedFile.of(file)
    elsewhere = [
        name
        for name, weight in model.hf.named_parameters()
        if not mapped.holds(weight.data_ptr(), weight.nbytes)
    ]
    return elsewhere, mapped.changed
