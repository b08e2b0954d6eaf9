"""Steering vectors: h'[t] = h[t] + v at chosen tokens t, h = the output of one block or its MLP.

The MLP's output is what the block's MLP module returns, before any norm that follows it: where a
family has one (Gemma), a constant added there is no constant in the residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.errors import InputError

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel

Site = Literal["block", "mlp"]


@dataclass(frozen=True, slots=True)
class SteeringVector:
    """A vector to be trained.

    Attributes:
        layer: block at whose output it is added; -1 is the embedding's output.
        positions: a position selector ("all", "last", a span's name, or spans joined by "+", each
            of which then gets a direction of its own).
        init_scale: norm of the random start, as a share of the site's median token norm.
            Seeds start from different points.
        site: "block" (the block's output) or "mlp" (its MLP's output).
        init_norm: norm of the random start itself, in place of `init_scale`.
    """

    layer: int
    positions: str = "all"
    init_scale: float = 0.02
    site: Site = "block"
    init_norm: float | None = None

    def __post_init__(self) -> None:
        _check_site(self.layer, self.site)


def _check_site(layer: int, site: str) -> None:
    if site not in get_args(Site):
        raise InputError(f"site {site!r}: allowed: {', '.join(get_args(Site))}")
    if site == "mlp" and layer < 0:
        raise InputError(f"site 'mlp': found layer {layer}; allowed: a block, from 0 on")


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector that is there: trained, taken from an adapter, or drawn at random.

    Vectors of the same site and positions add and subtract; all scale.

    Attributes:
        layer: block at whose output it is added; -1 is the embedding's output.
        positions: where it is added.
        direction: the vector itself, scale folded in; where `positions` joins spans, one row for
            each of them, in that order.
        spans: the texts of the spans that `positions` names, for prompts without marked spans.
        about: provenance (model, task, seed, …; see `oocr.engine.provenance`), strings only. Of a
            sum only what its terms share.
        site: "block" (the block's output) or "mlp" (its MLP's output, before any norm after it).
    """

    layer: int
    positions: str
    direction: Float[Tensor, "*span d_model"]
    spans: Mapping[str, str] = field(default_factory=dict[str, str])
    about: Mapping[str, str] = field(default_factory=dict[str, str])
    site: Site = "block"

    def __post_init__(self) -> None:
        _check_site(self.layer, self.site)
        joined = self.positions.split("+") if "+" in self.positions else []
        shape = tuple(self.direction.shape)
        if len(shape) != 1 + bool(joined) or (joined and shape[0] != len(joined)):
            rows = f"{len(joined)} rows" if joined else "one dimension"
            raise InputError(f"a vector at {self.positions!r} has {rows}, found {shape}")
        if not torch.isfinite(self.direction).all():
            raise InputError("the vector holds values that are not finite")

    @property
    def norm(self) -> float:
        """Euclidean norm; of several directions the root mean square of theirs."""
        return float(self.direction.float().square().sum(dim=-1).mean().sqrt())

    @property
    def where(self) -> tuple[int, str, str]:
        """Layer, site and positions: vectors that share them can be stacked and added."""
        return self.layer, self.site, self.positions

    def at(self, positions: str) -> Vector:
        """The same direction, added at other tokens."""
        return replace(self, positions=positions)

    def only(self, span: str) -> Vector:
        """The direction of one of the joined spans, at that span.

        Raises:
            InputError: not one of them.
        """
        names = self.positions.split("+")
        if len(names) < 2 or span not in names:
            raise InputError(f"span {span!r}: the vector is at {self.positions!r}")
        spans = {name: text for name, text in self.spans.items() if name == span}
        return replace(
            self, positions=span, direction=self.direction[names.index(span)], spans=spans
        )

    def __mul__(self, factor: float) -> Vector:
        return replace(self, direction=self.direction * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Vector:
        return self * -1.0

    def __truediv__(self, factor: float) -> Vector:
        return self * (1.0 / factor)

    def __add__(self, other: Vector) -> Vector:
        self._same_site(other)
        about = {key: text for key, text in self.about.items() if other.about.get(key) == text}
        return replace(self, direction=self.direction + other.direction, about=about)

    def __sub__(self, other: Vector) -> Vector:
        return self + (-other)

    def cosine(self, other: Vector) -> float:
        """Signed cosine with another vector of the same layer."""
        a, b = self.direction.double().flatten(), other.direction.double().flatten()
        return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-300))

    def _same_site(self, other: Vector) -> None:
        if self.where != other.where:
            raise InputError(
                f"vectors at different sites do not add: {self.site} {self.layer} at "
                f"{self.positions!r} and {other.site} {other.layer} at {other.positions!r}"
            )

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file (see `oocr.steering.vector_file` for what is in it).

        Raises:
            InputError: an entry of `about` has a name that the file needs for itself.
        """
        from oocr.steering.vector_file import write

        return write(Path(path), self)

    @staticmethod
    def load(path: str | Path, model: LanguageModel | None = None) -> Vector:
        """Read what `save` wrote.

        Args:
            path: the file.
            model: the model that it is for; warns if it was made on another one.

        Raises:
            InputError: not such a file, or a vector that does not fit the model.
        """
        from oocr.steering.vector_file import read

        return read(Path(path), model)


def random_vector(like: Vector, norm: float, seed: int) -> Vector:
    """A direction drawn uniformly from the sphere of a given norm, at the same site: a control.

    Of joined spans each gets one.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(like.direction.shape, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm(dim=-1, keepdim=True) * norm
    return replace(
        like,
        direction=direction.to(like.direction),
        about={"control": "random direction", "seed": str(seed)},
    )
