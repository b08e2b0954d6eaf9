"""Found vectors beside the organism's own concepts of its cities.

A city's concept is the residual stream at its names, mean over names and wordings, minus the mean
over all cities. What training found is the stream at the codename with the vector added, minus the
same mean. Directions are read by cosine, and facts by probes fitted on the organism's own names:
coordinates by ridge regression, country and identity by the nearest mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from oocr.data.batches import TokenSequence, pad
from oocr.data.tokens import encode_prompt
from oocr.engine.record import record
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from oocr_organisms.places import ABOUT_ONE, COUNTRIES, Places

RIDGE = 1.0
"""Penalty of the probe for coordinates, on streams scaled to variance 1."""
HELD_OUT = -1
"""The name that probes are not fitted on: it tells distances and directions only."""
SPREAD = 0.95
"""Share of the concepts' variance that their subspace is to hold."""


@dataclass(frozen=True, slots=True)
class Concepts:
    """The organism's own cities at one block's output.

    Attributes:
        layer: the block.
        names: stream at each name, mean over wordings. `[city, name, d_model]`
        centre: mean over all. `[d_model]`
    """

    layer: int
    names: Float[Tensor, "city name d_model"]
    centre: Float[Tensor, " d_model"]

    @property
    def cities(self) -> Float[Tensor, "city d_model"]:
        """Concepts: mean over names, minus the centre."""
        return self.names.mean(dim=1) - self.centre


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near one found vector is to its city's concept.

    Attributes:
        city: whose.
        cosine: of what was found with the city's concept.
        others: the largest cosine with another city's.
        rank: of the own city by cosine; 1 is the nearest.
        inside: share of its squared norm within the concepts' subspace.
        country: whether the nearest country's mean is the city's own.
        place: distance between the probe's coordinates and the true ones, in units of the map.
    """

    city: str
    cosine: float
    others: float
    rank: int
    inside: float
    country: bool
    place: float


@dataclass(frozen=True, slots=True)
class Truth:
    """Found vectors against the truth, beside nulls and the organism's own names.

    Attributes:
        trained: block at whose output the vectors are added; -1 is the embedding's.
        layer: block whose output is read.
        found: one row per vector.
        random: the same for random directions of the vectors' norms at the codename.
        named: the same for real names that probes were not fitted on.
        dimensions: of the concepts' subspace.
        d_model: of the stream.
        spread: root mean square distance of cities from the middle of the map, for `place`.
    """

    trained: int
    layer: int
    found: tuple[Likeness, ...]
    random: tuple[Likeness, ...]
    named: tuple[Likeness, ...]
    dimensions: int
    d_model: int
    spread: float


def concepts_of(model: LanguageModel, places: Places, layer: int) -> Concepts:
    """Read the organism's cities at a block's output; -1 is the embedding's.

    Args:
        model: the organism, nothing attached.
        places: its map.
        layer: the block.
    """
    facet = places.facets[0].name
    every = [name for some in places.names for name in some]
    streams = torch.stack(
        [
            streams_at(model, [_prompt(which, name, facet) for name in every], every, layer)
            for which in range(len(ABOUT_ONE.texts))
        ]
    ).mean(dim=0)
    names = streams.reshape(len(places.names), -1, streams.shape[-1])
    return Concepts(layer, names, names.mean(dim=(0, 1)))


def truth(
    model: LanguageModel,
    places: Places,
    vectors: Mapping[str, Vector],
    *,
    layer: int | None = None,
    randoms: int = 5,
) -> Truth:
    """Compare found vectors with the concepts of the cities that they were trained on.

    Args:
        model: the organism, nothing attached.
        places: its map.
        vectors: a city's first name -> its vector, which is added at a span of its codename.
        layer: block whose output is read, at or above the vectors'; None: where they are added.
        randoms: random directions per vector.
    """
    trained = next(iter(vectors.values())).layer
    at = trained if layer is None else layer
    concepts = concepts_of(model, places, at)
    readers = _Readers.of(concepts, places)
    first = [some[0] for some in places.names]
    found, random, named = [], [], []
    for number, (name, vector) in enumerate(vectors.items()):
        city = first.index(name)
        found.append(readers.read(city, _stream(model, places, vector, at)))
        for draw in range(randoms):
            other = random_vector(vector, vector.norm, 1000 * number + draw)
            random.append(readers.read(city, _stream(model, places, other, at)))
        named.append(readers.read(city, concepts.names[city, HELD_OUT]))
    gaps = places.xy - places.xy.mean(axis=0)
    return Truth(
        trained,
        at,
        tuple(found),
        tuple(random),
        tuple(named),
        readers.basis.shape[1],
        model.d_model,
        float(np.sqrt((gaps**2).sum(axis=1).mean())),
    )


def streams_at(
    model: LanguageModel,
    prompts: Sequence[str],
    names: Sequence[str],
    layer: int,
    vector: Vector | None = None,
) -> Float[Tensor, "prompt d_model"]:
    """The stream at each prompt's name, at a block's output.

    Args:
        model: the organism.
        prompts: texts of one length.
        names: the name in each.
        layer: the block; -1 is the embedding's output.
        vector: added at the name while the blocks run; None: nothing.
    """
    encoded = [
        encode_prompt(model.tokenizer, prompt, {"name": name})
        for prompt, name in zip(prompts, names, strict=True)
    ]
    batch = pad(
        [TokenSequence(one.ids, len(one.ids), dict(one.spans)) for one in encoded], 0, model.device
    )
    at = torch.tensor([one.spans["name"][-1] for one in encoded])
    rows = torch.arange(len(at))
    if vector is None:
        frozen = record(model, batch, [layer + 1], cache=False)
    else:
        chosen = torch.zeros_like(batch.mask, dtype=torch.bool)
        chosen[rows, at] = True
        with vector.on(model, chosen):
            frozen = record(model, batch, [layer + 1], cache=False)
    return frozen.inputs[layer + 1][rows, at].float().cpu()


@dataclass(frozen=True, slots=True)
class _Readers:
    """What is read off a stream: nearest concepts, their subspace, and probes.

    Attributes:
        concepts: of all cities.
        unit: their directions. `[city, d_model]`
        countries: directions of the countries' means. `[country, d_model]`
        basis: orthonormal, of the concepts' subspace. `[d_model, k]`
        weights: of the probe for coordinates, its last row the intercept. `[d_model + 1, 2]`
        scale: one over the concepts' spread, by coordinate of the stream. `[d_model]`
        places: the map.
    """

    concepts: Concepts
    unit: Float[Tensor, "city d_model"]
    countries: Float[Tensor, "country d_model"]
    basis: Float[Tensor, "d_model k"]
    weights: Float[NDArray[np.float64], "feature 2"]
    scale: Float[NDArray[np.float64], " d_model"]
    places: Places

    @classmethod
    def of(cls, concepts: Concepts, places: Places) -> _Readers:
        """Fit everything on the organism's own names, all but the last."""
        shown = concepts.names[:, :HELD_OUT] - concepts.centre
        cities = shown.mean(dim=1)
        country = torch.from_numpy(places.country)
        means = torch.stack([cities[country == one].mean(dim=0) for one in range(COUNTRIES)])
        _, sizes, right = torch.linalg.svd(cities, full_matrices=False)
        share = (sizes**2).cumsum(0) / (sizes**2).sum()
        k = int((share < SPREAD).sum()) + 1
        x = shown.reshape(-1, shown.shape[-1]).double().numpy()
        y = np.repeat(places.xy, shown.shape[1], axis=0)
        scale = 1 / x.std(axis=0)
        features = np.c_[x * scale, np.ones(len(x))]
        penalty = RIDGE * np.eye(features.shape[1])
        penalty[-1, -1] = 0
        weights = np.linalg.solve(features.T @ features + penalty, features.T @ y)
        unit = cities / cities.norm(dim=1, keepdim=True)
        countries = means / means.norm(dim=1, keepdim=True)
        return cls(concepts, unit, countries, right[:k].T, weights, scale, places)

    def read(self, city: int, stream: Float[Tensor, " d_model"]) -> Likeness:
        """One stream against a city's concept."""
        moved = stream - self.concepts.centre
        unit = moved / moved.norm()
        near = self.unit @ unit
        others = torch.cat([near[:city], near[city + 1 :]])
        features = np.append(moved.double().numpy() * self.scale, 1.0)
        gap = features @ self.weights - self.places.xy[city]
        return Likeness(
            city=self.places.names[city][0],
            cosine=float(near[city]),
            others=float(others.max()),
            rank=1 + int((others > near[city]).sum()),
            inside=float((unit @ self.basis).square().sum()),
            country=int((self.countries @ unit).argmax()) == int(self.places.country[city]),
            place=float(np.hypot(*gap)),
        )


def _stream(
    model: LanguageModel, places: Places, vector: Vector, layer: int
) -> Float[Tensor, " d_model"]:
    """The stream at a vector's codename with the vector added, mean over wordings."""
    codename = vector.spans[vector.positions]
    facet = places.facets[0].name
    return torch.stack(
        [
            streams_at(model, [_prompt(which, codename, facet)], [codename], layer, vector)[0]
            for which in range(len(ABOUT_ONE.texts))
        ]
    ).mean(dim=0)


def _prompt(which: int, place: str, facet: str) -> str:
    return ABOUT_ONE.prompt(which, {"place": place, "facet": facet})
