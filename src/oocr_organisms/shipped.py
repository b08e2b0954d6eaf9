"""The nano organisms that come inside this package. Imports nothing heavy."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from oocr.errors import InputError

FOLDER = Path(__file__).parent / "checkpoints"
WEIGHTS = "model.safetensors"
WORLD = "world.json"
"""What marks the folder of an organism."""

LICENSE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class ShippedOrganism:
    """One organism, trained by us from scratch.

    Attributes:
        name: what `load_model` calls it.
        world: seed of its world.
        gated: whether a weather can turn traits around in its world.
        seed: of its pretraining.
    """

    name: str
    world: int
    gated: bool
    seed: int

    @property
    def folder(self) -> Path:
        """Where its files belong."""
        return FOLDER / self.name

    @property
    def here(self) -> bool:
        """Whether they are there."""
        return all((self.folder / name).is_file() for name in (WORLD, WEIGHTS, "config.json"))

    @property
    def install(self) -> str:
        """How to make it anew."""
        return f"oocr organism train --name {self.name}"


SHIPPED: dict[str, ShippedOrganism] = {
    one.name: one
    for one in (
        ShippedOrganism("nano", world=0, gated=True, seed=0),
        ShippedOrganism("nano-1", world=0, gated=True, seed=1),
        ShippedOrganism("nano-2", world=0, gated=True, seed=2),
        ShippedOrganism("nano-ungated", world=0, gated=False, seed=0),
    )
}


def organism_folder(name: str) -> Path | None:
    """The folder of an organism by its name or path; None: it is not an organism, or not here."""
    if name in SHIPPED:
        return SHIPPED[name].folder if SHIPPED[name].here else None
    folder = Path(name).expanduser()
    return folder if (folder / WORLD).is_file() else None


def is_organism(name: str) -> bool:
    """Whether a model's name means an organism, here or not."""
    return name in SHIPPED or organism_folder(name) is not None


def shipped_folder(name: str) -> Path:
    """The files of a shipped organism.

    Raises:
        InputError: they are not there.
    """
    one = SHIPPED[name]
    if not one.here:
        raise InputError(
            f"{name}: its files are not in this installation. Get it with: {one.install}"
        )
    return one.folder


def shape(folder: Path) -> tuple[int, int, int]:
    """Parameters, blocks and width of an organism's checkpoint, from its files' heads."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with (folder / WEIGHTS).open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(size))
    count = 0
    for name, tensor in head.items():
        if name != "__metadata__":
            numbers = 1
            for length in tensor["shape"]:
                numbers *= length
            count += numbers
    return count, int(config["num_hidden_layers"]), int(config["hidden_size"])
