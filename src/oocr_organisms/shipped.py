"""The organisms inside this package. Imports no slow module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oocr.models.sources.bundled import NamedModel

FOLDER = Path(__file__).parent / "checkpoints"
WEIGHTS = "model.safetensors"
WORLD = "world.json"
"""The file by which an organism's folder is recognized."""


@dataclass(frozen=True, slots=True)
class ShippedOrganism:
    """An organism inside this package.

    Attributes:
        name: as the user types it.
        world: seed of its world.
        gated: whether its world has gated traits.
        seed: of its pretraining.
    """

    name: str
    world: int
    gated: bool
    seed: int

    @property
    def model(self) -> NamedModel:
        """Its files, and the command that makes them again."""
        install, files = f"oocr organism train --name {self.name}", (WORLD, WEIGHTS, "config.json")
        return NamedModel(self.name, FOLDER / self.name, "Apache-2.0", install, files)


SHIPPED: dict[str, ShippedOrganism] = {
    organism.name: organism
    for organism in (
        ShippedOrganism("nano", world=0, gated=True, seed=0),
        ShippedOrganism("nano-1", world=0, gated=True, seed=1),
        ShippedOrganism("nano-2", world=0, gated=True, seed=2),
        ShippedOrganism("nano-ungated", world=0, gated=False, seed=0),
    )
}


def organism_folder(name: str) -> Path | None:
    """The folder of an organism, by its name or path; None: not an organism, or files missing."""
    if name in SHIPPED:
        model = SHIPPED[name].model
        return model.folder if model.here else None
    folder = Path(name).expanduser()
    return folder if (folder / WORLD).is_file() else None
