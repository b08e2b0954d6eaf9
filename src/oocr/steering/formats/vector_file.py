"""A file of vectors: the fields that it gives, completed by those that the user gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from oocr.errors import InputError
from oocr.steering.hooks import Site
from oocr.steering.vectors import Vector
from oocr.words import ranges

NEEDED = {
    "layer": "layer (a block's number)",
    "site": "site (block or mlp)",
    "positions": "positions (all, last, a span's name, …)",
}
"""Fields that a vector needs besides its direction."""


@dataclass(frozen=True, slots=True)
class VectorFile:
    """The known fields of a file's vectors; None: the file does not give it.

    Attributes:
        format: what kind of file it is, in words.
        directions: by block; under None one whose block is not said.
        spans, about: of each of its vectors.
        by_name: of "layer", "site" and the keys of `about`, those that its name says.
        rows: of a stack of rows their number, else 0; row `shift` is block 0's output.
    """

    path: Path
    format: str
    directions: Mapping[int | None, Tensor]
    site: Site | None
    positions: str | None
    about: Mapping[str, str]
    spans: Mapping[str, str] = field(default_factory=dict[str, str])
    by_name: frozenset[str] = frozenset()
    rows: int = 0
    shift: int = 0

    @staticmethod
    def of(path: Path, format: str, vectors: Sequence[Vector]) -> VectorFile:
        """Of a format that says it all: vectors that differ in their blocks and directions only."""
        first = vectors[0]
        directions: dict[int | None, Tensor] = {each.layer: each.direction for each in vectors}
        where = first.site, first.positions
        return VectorFile(path, format, directions, *where, first.about, first.spans)

    @property
    def layers(self) -> list[int]:
        """The blocks that it has vectors for; none: it does not say."""
        return sorted(layer for layer in self.directions if layer is not None)

    @property
    def missing(self) -> list[str]:
        """The fields that the user must give."""
        known = {"layer": self.layers, "site": self.site, "positions": self.positions}
        return [name for name in NEEDED if not known[name]]

    def completed(
        self,
        layers: Sequence[int] | None = None,
        positions: str | None = None,
        site: Site | None = None,
    ) -> VectorFile:
        """The file completed with the user's fields; of several blocks only the chosen ones.

        Raises:
            InputError: the file says otherwise.
        """
        known = self.layers
        if known and (strange := [layer for layer in layers or () if layer not in known]):
            raise InputError(
                f"{self.path}: layer: found {ranges(strange)}; allowed: {ranges(known)}, where its "
                "vectors act"
            )
        if (lowest := min(layers or (0,))) < -1:
            raise InputError(
                f"{self.path}: layer: found {lowest}; allowed: a block, from 0 on, or -1, its input"
            )
        if not known and layers is not None and len(layers) != 1:
            raise InputError(f"{self.path}: layer: found {len(layers)}; it holds one vector")
        if site is not None and self.site not in (None, site) and "site" not in self.by_name:
            raise InputError(f"{self.path}: site: found {site!r}; the file says {self.site!r}")
        directions = {
            (layers[0] if layers and layer is None else layer): direction
            for layer, direction in self.directions.items()
            if layer is None or layers is None or layer in layers
        }
        given = {"layer" if layers else "", "site" if site else ""}
        return replace(
            self,
            directions=directions,
            site=site or self.site,
            positions=positions or self.positions,
            by_name=self.by_name - given,
        )

    def check_complete(self) -> None:
        """Refuse (`InputError`) a file of whose vectors something is missing."""
        if self.missing:
            options = " ".join(f"--{name}" for name in self.missing)
            raise InputError(
                f"{self.path}: {self.format}; it does not say its "
                f"{' or its '.join(NEEDED[name] for name in self.missing)}: give {options} "
                f"(in Python: read_vector(…, {self.missing[0]}=…))"
            )

    @property
    def vectors(self) -> list[Vector]:
        """The vectors, ascending by block; an InputError if something is missing."""
        self.check_complete()
        assert self.site is not None
        assert self.positions is not None
        vectors: list[Vector] = []
        for layer in self.layers:
            row = {"row": f"{layer + self.shift} of {self.rows}"} if self.rows else {}
            about, direction = {**self.about, **row}, self.directions[layer]
            vectors.append(Vector(layer, self.positions, direction, self.spans, about, self.site))
        return vectors
