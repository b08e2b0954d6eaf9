"""Text whose tokens are coloured by their projection on a vector, in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oocr import html
from oocr.charts.pieces import number
from oocr.errors import InputError

if TYPE_CHECKING:
    from oocr.data.examples import Prompt
    from oocr.models.language_model import LanguageModel
    from oocr.steering.vectors import Vector


@dataclass(frozen=True, slots=True, repr=False)
class ProjectedTokens:
    """A text's tokens with the projection h · v / |v| and the cosine h · v / (|h| |v|) at each.

    v is the vector, h the residual stream at the output of block `layer` (-1: of the embedding).
    """

    tokens: tuple[str, ...]
    projections: tuple[float, ...]
    cosines: tuple[float, ...]
    layer: int

    @property
    def scale(self) -> float:
        """The projection with the deepest colour.

        The largest in size; the first token's does not count, which is huge in many models.
        """
        return max((abs(value) for value in self.projections[1:]), default=0.0) or 1.0

    def __repr__(self) -> str:
        """One line per token: its projection, its cosine, its text."""
        head = f"projection on the vector at the output of block {self.layer}, cosine, token"
        lines = [
            f"{projection:+9.3g}  {cosine:+.2f}  {token!r}"
            for token, projection, cosine in zip(
                self.tokens, self.projections, self.cosines, strict=True
            )
        ]
        return "\n".join([head, *lines])

    def _repr_html_(self) -> str:
        """The text, coloured as the report colours its texts."""
        scale = self.scale
        return html.tokens(
            self.tokens,
            [value / scale for value in self.projections],
            f"projection on the vector, block {self.layer} (deepest colour: ±{number(scale)})",
            [
                f"projection {number(projection)}, cosine {number(cosine)}"
                for projection, cosine in zip(self.projections, self.cosines, strict=True)
            ],
        )


def tokens(model: LanguageModel, text: Prompt, vector: Vector) -> ProjectedTokens:
    """Colour a text's tokens by the projection of the residual stream on a vector.

    Shown as coloured text in a notebook, as a list elsewhere; works offline.

    The model has nothing attached; the stream is read at the output of the vector's block.

    InputError: the vector is of another model's size, has several directions, or is zero.
    """
    from oocr.explain.differences import Texts
    from oocr.steering.vectors import check_fits

    check_fits(model, vector)
    if vector.direction.ndim > 1:
        raise InputError(
            f"tokens: the vector has a direction for each of {vector.positions}; choose one, "
            f"e.g. vector.only({vector.positions.split('+')[0]!r})"
        )
    if not vector.norm > 0:
        raise InputError("tokens: the vector is zero, so nothing can be projected on it")
    read = Texts(model, [text], [{}], [max(0, vector.layer)])
    states = read.base[0] if vector.layer >= 0 else read.recordings[0][1].inputs[0][0].float().cpu()
    direction = vector.direction.float().cpu() / vector.norm
    projections = states @ direction
    cosines = projections / states.norm(dim=-1).clamp(min=1e-12)
    return ProjectedTokens(
        tuple(read.tokens(0)), tuple(projections.tolist()), tuple(cosines.tolist()), vector.layer
    )
