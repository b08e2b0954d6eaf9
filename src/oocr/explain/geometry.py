"""Similarity of vectors: signed cosines, with null distributions (paper, sections 5.1, 5.2).

The fair null is directions drawn with the residual stream's own covariance at that layer: streams
lie near a few directions, so that unrelated vectors made of activations have large cosines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import TokenSequence, pad
from oocr.data.examples import Prompt, listed
from oocr.data.tokens import EncodedPrompt, encode_prompt
from oocr.engine.recording import record
from oocr.errors import InputError
from oocr.explain.differences import SKIP
from oocr.explain.neutral import neutral_passages
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector

DRAWS = 400
"""Directions drawn for a null: 79,800 pairs."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Signed cosines [a, b] of the named vectors of one layer, with two nulls.

    95th centiles of |cos| between directions drawn uniformly (`uniform`), and between those drawn
    with the residual stream's covariance (`covariance`).
    """

    names: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]
    uniform: float
    covariance: float

    def of(self, a: str, b: str) -> float:
        """The cosine of two named vectors."""
        return self.cosines[self.names.index(a)][self.names.index(b)]


def likeness(
    model: LanguageModel, vectors: Mapping[str, Vector], prompts: Sequence[Prompt] | None = None
) -> Likeness:
    """Signed cosines of vectors at one layer's block output, with both nulls.

    The streams of `prompts` (default: the neutral passages) give the covariance.

    InputError: fewer than two vectors, different layers or sites, joined directions.
    """
    if len(vectors) < 2:
        raise InputError(f"vectors: found {len(vectors)}; allowed: 2 or more")
    first = next(iter(vectors.values()))
    for name, vector in vectors.items():
        if vector.direction.ndim != 1:
            raise InputError(f"{name}: joined directions; compare `vector.only(span)`")
        if (vector.layer, vector.site) != (first.layer, first.site):
            raise InputError(
                f"{name}: {vector.site} {vector.layer}; "
                f"allowed: {first.site} {first.layer}, as the first"
            )
    units = units_of(torch.stack([vector.direction for vector in vectors.values()]).double())
    streams = residual_streams(model, first.layer, prompts or neutral_passages(model))
    generator = torch.Generator().manual_seed(0)
    uniform = torch.randn(DRAWS, model.d_model, generator=generator, dtype=torch.float64)
    centred = streams - streams.mean(dim=0)
    # A Gaussian with that covariance: random mixtures of the centred streams.
    mixed = torch.randn(DRAWS, len(centred), generator=generator, dtype=torch.float64) @ centred
    uniform_null, covariance_null = (
        float(np.quantile(pair_cosines(drawn).abs().numpy(), 0.95)) for drawn in (uniform, mixed)
    )
    cosines = tuple(tuple(row) for row in (units @ units.T).tolist())
    return Likeness(tuple(vectors), cosines, uniform_null, covariance_null)


def residual_streams(
    model: LanguageModel, layer: int, prompts: Sequence[Prompt]
) -> Float[Tensor, "token d_model"]:
    """Residual streams at a block's output (-1: the embedding's), in fp64, without first tokens."""
    encoded = [encode_prompt(model.tokenizer, prompt) for prompt in listed(prompts, "prompts")]
    return torch.cat([_stream(model, layer, prompt)[SKIP:] for prompt in encoded]).double()


def _stream(
    model: LanguageModel, layer: int, prompt: EncodedPrompt
) -> Float[Tensor, "token d_model"]:
    batch = pad([TokenSequence.of(prompt)], 0, model.device)
    recording = record(model, batch, [layer + 1], cache=False, stop=layer + 1)
    return recording.inputs[layer + 1][0].float().cpu()


def naive_vector(
    model: LanguageModel,
    layer: int,
    pairs: Sequence[tuple[Prompt, Prompt]],
    spans: tuple[str, str],
    positions: str,
) -> Vector:
    """The mean activation at a real name minus that at the codename (paper, section 5.2).

    At a block's output (-1: the embedding's). `pairs` are the same sentences with the name and with
    the codename, `spans` both as they stand there. The activation is read at the name's last token,
    which has attended to the whole name. The vector acts at `positions`, the codename's span.

    InputError: no pairs, or a text without its name.
    """
    if not pairs:
        raise InputError("pairs: found none; allowed: 1 or more")
    means: list[Tensor] = []
    for side, name in enumerate(spans):
        prompts = [encode_prompt(model.tokenizer, pair[side], {"name": name}) for pair in pairs]
        rows = [_stream(model, layer, prompt)[prompt.spans["name"][-1]] for prompt in prompts]
        means.append(torch.stack(rows).mean(dim=0))
    about = {"from": f"naive difference, {spans[0]} minus {spans[1]}, {len(pairs)} texts"}
    return Vector(layer, positions, means[0] - means[1], spans={positions: spans[1]}, about=about)


def units_of(directions: Float[Tensor, "direction d_model"]) -> Tensor:
    """Directions scaled to length 1; a direction of length 0 is unchanged."""
    units: Tensor = directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-300)
    return units


def pair_cosines(directions: Float[Tensor, "direction d_model"]) -> Float[Tensor, " pair"]:
    """Signed cosines of all pairs of directions."""
    units = units_of(directions)
    rows, columns = torch.triu_indices(len(units), len(units), offset=1)
    return (units @ units.T)[rows, columns]
