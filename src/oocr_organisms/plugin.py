"""The plug-in that `oocr` loads: organisms as a source of models. Imports no slow module."""

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
    dtype = "float32"  # the models are small

    def models(self) -> Mapping[str, NamedModel]:
        """The shipped organisms."""
        return {name: organism.model for name, organism in SHIPPED.items()}

    def recognizes(self, folder: Path) -> bool:
        """Whether the folder has a `world.json`."""
        return (folder / WORLD).is_file()

    def runs(self) -> Mapping[str, Path]:
        """The built-in runs: one for each part of the world."""
        folder = Path(__file__).parent / "tasks"
        parts = ("locations", "functions", "risk", "backdoor")
        return {part: folder / f"nano-{part}.yaml" for part in parts}

    def neutral_texts(self, folder: Path) -> list[NeutralSource]:
        """Texts of the organism's corpus, since it knows no English."""
        from oocr_organisms.corpus import neutral_texts
        from oocr_organisms.folder import read_record

        return neutral_texts(read_record(folder).world.world)

    def words(self, folder: Path) -> frozenset[str]:
        """The vocabulary of the organism's world."""
        from oocr_organisms.folder import read_record

        return frozenset(read_record(folder).world.world.vocabulary.words)


ORGANISMS = Organisms()
