"""Steering vectors: h'[t] = h[t] + v at chosen tokens t, h = the output of one block."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from oocr.errors import InputError
from oocr.files import write_tensors

FORMAT = "oocr-vector-1"


@dataclass(frozen=True, slots=True)
class SteeringVector:
    """A vector to be trained.

    Attributes:
        layer: block at whose output it is added; -1 is the embedding's output.
        positions: a position selector ("all", "last", or a span's name).
        init_scale: norm of the random start, as a share of the site's median token norm.
            Seeds start from different points.
    """

    layer: int
    positions: str = "all"
    init_scale: float = 0.02


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector that is there: trained, taken from an adapter, or drawn at random.

    Vectors of the same layer and positions add and subtract; all scale.

    Attributes:
        layer: block at whose output it is added; -1 is the embedding's output.
        positions: where it is added.
        direction: the vector itself, scale folded in.
        spans: the texts of the span that `positions` names, for prompts without marked spans.
        about: provenance (model, task, seed, learning rate, …), strings only.
    """

    layer: int
    positions: str
    direction: Float[Tensor, " d_model"]
    spans: Mapping[str, str] = field(default_factory=dict[str, str])
    about: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if self.direction.ndim != 1:
            raise InputError(f"a vector has one dimension, found {tuple(self.direction.shape)}")
        if not torch.isfinite(self.direction).all():
            raise InputError("the vector holds values that are not finite")

    @property
    def norm(self) -> float:
        """Euclidean norm."""
        return float(self.direction.float().norm())

    def at(self, positions: str) -> Vector:
        """The same direction, added at other tokens."""
        return replace(self, positions=positions)

    def __mul__(self, factor: float) -> Vector:
        return replace(self, direction=self.direction * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Vector:
        return self * -1.0

    def __truediv__(self, factor: float) -> Vector:
        return self * (1.0 / factor)

    def __add__(self, other: Vector) -> Vector:
        self._same_site(other)
        return replace(self, direction=self.direction + other.direction)

    def __sub__(self, other: Vector) -> Vector:
        return self + (-other)

    def cosine(self, other: Vector) -> float:
        """Signed cosine with another vector of the same layer."""
        a, b = self.direction.double(), other.direction.double()
        return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-300))

    def _same_site(self, other: Vector) -> None:
        if (self.layer, self.positions) != (other.layer, other.positions):
            raise InputError(
                f"vectors at different sites do not add: layer {self.layer} at "
                f"{self.positions!r} and layer {other.layer} at {other.positions!r}"
            )

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file: one tensor `direction.<block>` in fp32, metadata in strings."""
        metadata = {
            "format": FORMAT,
            "site": "block output",
            "operation": "add",
            "scale": "folded in",
            "layer": str(self.layer),
            "positions": self.positions,
            "spans": json.dumps(dict(self.spans), sort_keys=True),
            "about": json.dumps(dict(self.about), sort_keys=True),
        }
        tensors = {f"direction.{self.layer}": self.direction.detach().float().cpu().contiguous()}
        return write_tensors(Path(path), tensors, metadata)

    @staticmethod
    def load(path: str | Path) -> Vector:
        """Read what `save` wrote.

        Raises:
            InputError: not such a file.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                names = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
        except Exception as error:  # safetensors raises several types
            raise InputError(f"{path}: not a readable safetensors file ({error})") from error
        needed = {"layer", "positions", "spans", "about"}
        if metadata.get("format") != FORMAT or len(names) != 1 or needed - metadata.keys():
            raise InputError(
                f"{path}: not a vector file of this library: format "
                f"{metadata.get('format')!r} (expected {FORMAT!r}), tensors {names}"
            )
        return Vector(
            layer=int(metadata["layer"]),
            positions=metadata["positions"],
            direction=tensors[names[0]],
            spans=json.loads(metadata["spans"]),
            about=json.loads(metadata["about"]),
        )


def random_vector(like: Vector, norm: float, seed: int) -> Vector:
    """A direction drawn uniformly from the sphere of a given norm, at the same site: a control."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(like.direction.shape[0], generator=generator, dtype=torch.float64)
    direction = direction / direction.norm() * norm
    return replace(
        like,
        direction=direction.to(like.direction),
        about={"control": "random direction", "seed": str(seed)},
    )
