"""What `oocr` loads from this package: organisms as models. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from oocr.models.sources.bundled import ModelSource, NamedModel, NeutralSource
from oocr_organisms.shipped import SHIPPED, WORLD


class Organisms(ModelSource):
    """Shipped organisms by name, and any folder that `oocr organism train` has written."""

    kind = "organism"
    about = "an organism, which knows its own world only"
    families = ("nano",)
    dtype = "float32"  # so small that it costs nothing

    def models(self) -> Mapping[str, NamedModel]:
        """The shipped organisms."""
        return {name: organism.model for name, organism in SHIPPED.items()}

    def recognizes(self, folder: Path) -> bool:
        """Whether the folder says which world its model was trained on."""
        return (folder / WORLD).is_file()

    def runs(self) -> Mapping[str, Path]:
        """One built-in run for each part of the world."""
        folder = Path(__file__).parent / "tasks"
        parts = ("locations", "functions", "risk", "backdoor")
        return {part: folder / f"nano-{part}.yaml" for part in parts}

    def neutral_texts(self, folder: Path) -> list[NeutralSource]:
        """Texts of the organism's corpus: it knows no English."""
        from oocr_organisms.corpus import neutral_texts
        from oocr_organisms.folder import read_record

        return neutral_texts(read_record(folder).world.world)

    def words(self, folder: Path) -> frozenset[str]:
        """The vocabulary of the organism's world."""
        from oocr_organisms.folder import read_record

        return frozenset(read_record(folder).world.world.vocabulary.words)


ORGANISMS = Organisms()
