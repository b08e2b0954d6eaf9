"""Is a trained vector of a city the organism's own concept of that city?

A city's concept is the residual stream at its names, mean over names and wordings, minus the mean
over all cities. It is compared with the stream at the codename with the vector added, minus the
same mean: by cosine, and by probes fitted on the organism's own names (coordinates by ridge
regression, country and identity by the nearest mean).
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
from oocr.engine.recording import record
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from oocr_organisms.facts import CITY_FACTS, COUNTRIES, Places

RIDGE = 1.0
"""Penalty of the probe for coordinates, on streams scaled to variance 1."""
HELD_OUT = -1
"""The name that probes are not fitted on: it tells distances and directions only."""
SPREAD = 0.95
"""Share of the concepts' variance that their subspace is to hold."""
WORDINGS = range(len(CITY_FACTS.texts))


@dataclass(frozen=True, slots=True)
class Concepts:
    """The organism's own cities at a block's output.

    Attributes:
        names: stream at each name, mean over wordings.
        centre: mean over all.
    """

    layer: int
    names: Float[Tensor, "city name d_model"]
    centre: Float[Tensor, " d_model"]

    @property
    def cities(self) -> Float[Tensor, "city d_model"]:
        """Concepts: mean over names, minus the centre."""
        return self.names.mean(dim=1) - self.centre


@dataclass(frozen=True, slots=True)
class CityMatch:
    """How near one stream is to the concept of its city.

    Attributes:
        city: its first name.
        cosine, others: with the city's concept; the largest with another city's.
        rank: of the city among all by cosine; 1 is the nearest.
        inside: share of the squared norm within the concepts' subspace.
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
    """Trained vectors compared with the concepts of their cities, at one block's output.

    Attributes:
        trained: block at whose output the vectors are added; -1 is the embedding's.
        layer: block whose output is read.
        found: of each vector.
        random: of random directions of the vectors' norms in their place.
        named: of real names that the probes were not fitted on.
        dimensions: of the concepts' subspace.
        d_model: of the stream.
        spread: root mean square distance of cities from the middle of the map, for `place`.
    """

    trained: int
    layer: int
    found: tuple[CityMatch, ...]
    random: tuple[CityMatch, ...]
    named: tuple[CityMatch, ...]
    dimensions: int
    d_model: int
    spread: float


def concepts_of(model: LanguageModel, places: Places, layer: int) -> Concepts:
    """Read the organism's cities at a block's output; -1 is the embedding's."""
    names = [name for city in places.names for name in city]
    streams = torch.stack(
        [
            streams_at(model, [_prompt(places, which, n) for n in names], names, layer)
            for which in WORDINGS
        ]
    ).mean(dim=0)
    by_city = streams.reshape(len(places.names), -1, streams.shape[-1])
    return Concepts(layer, by_city, by_city.mean(dim=(0, 1)))


def truth(
    model: LanguageModel,
    places: Places,
    vectors: Mapping[str, Vector],
    *,
    layer: int | None = None,
    randoms: int = 5,
) -> Truth:
    """Compare trained vectors with the concepts of their cities.

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
    probes = _CityProbes.of(concepts, places)
    first_names = [city[0] for city in places.names]
    found, random, named = [], [], []
    for number, (name, vector) in enumerate(vectors.items()):
        city = first_names.index(name)
        found.append(probes.match(city, _stream(model, places, vector, at)))
        for draw in range(randoms):
            other = random_vector(vector, vector.norm, 1000 * number + draw)
            random.append(probes.match(city, _stream(model, places, other, at)))
        named.append(probes.match(city, concepts.names[city, HELD_OUT]))
    gaps = places.xy - places.xy.mean(axis=0)
    return Truth(
        trained=trained,
        layer=at,
        found=tuple(found),
        random=tuple(random),
        named=tuple(named),
        dimensions=probes.basis.shape[1],
        d_model=model.d_model,
        spread=float(np.sqrt((gaps**2).sum(axis=1).mean())),
    )


def streams_at(
    model: LanguageModel,
    prompts: Sequence[str],
    names: Sequence[str],
    layer: int,
    vector: Vector | None = None,
) -> Float[Tensor, "prompt d_model"]:
    """The stream at each prompt's name, at a block's output (-1: the embedding's).

    Prompts are of one length; `vector` is added at the name while the blocks run.
    """
    encoded = [
        encode_prompt(model.tokenizer, prompt, {"name": name})
        for prompt, name in zip(prompts, names, strict=True)
    ]
    batch = pad(
        [TokenSequence(tokens.ids, len(tokens.ids), dict(tokens.spans)) for tokens in encoded],
        0,
        model.device,
    )
    at = torch.tensor([tokens.spans["name"][-1] for tokens in encoded])
    rows = torch.arange(len(at))
    if vector is None:
        recording = record(model, batch, [layer + 1], cache=False)
    else:
        chosen = torch.zeros_like(batch.mask, dtype=torch.bool)
        chosen[rows, at] = True
        with vector.on(model, chosen):
            recording = record(model, batch, [layer + 1], cache=False)
    return recording.inputs[layer + 1][rows, at].float().cpu()


@dataclass(frozen=True, slots=True)
class _CityProbes:
    """What is read off a stream, fitted on the organism's own names except the last.

    Attributes:
        centre: mean of the streams at all names.
        unit, countries: directions of the cities' concepts and of the countries' means.
        basis: orthonormal, of the concepts' subspace.
        weights: of the probe for coordinates, its last row the intercept.
        scale: one over the concepts' spread, by coordinate of the stream.
    """

    places: Places
    centre: Float[Tensor, " d_model"]
    unit: Float[Tensor, "city d_model"]
    countries: Float[Tensor, "country d_model"]
    basis: Float[Tensor, "d_model k"]
    weights: Float[NDArray[np.float64], "feature 2"]
    scale: Float[NDArray[np.float64], " d_model"]

    @classmethod
    def of(cls, concepts: Concepts, places: Places) -> _CityProbes:
        """Fit everything."""
        names = concepts.names[:, :HELD_OUT] - concepts.centre
        cities = names.mean(dim=1)
        country = torch.from_numpy(places.country)
        means = torch.stack([cities[country == n].mean(dim=0) for n in range(COUNTRIES)])
        _, sizes, right = torch.linalg.svd(cities, full_matrices=False)
        share = (sizes**2).cumsum(0) / (sizes**2).sum()
        k = int((share < SPREAD).sum()) + 1
        x = names.reshape(-1, names.shape[-1]).double().numpy()
        y = np.repeat(places.xy, names.shape[1], axis=0)
        scale = 1 / x.std(axis=0)
        features = np.c_[x * scale, np.ones(len(x))]
        penalty = RIDGE * np.eye(features.shape[1])
        penalty[-1, -1] = 0
        weights = np.linalg.solve(features.T @ features + penalty, features.T @ y)
        unit = cities / cities.norm(dim=1, keepdim=True)
        countries = means / means.norm(dim=1, keepdim=True)
        return cls(places, concepts.centre, unit, countries, right[:k].T, weights, scale)

    def match(self, city: int, stream: Float[Tensor, " d_model"]) -> CityMatch:
        """Compare a stream with a city's concept."""
        moved = stream - self.centre
        unit = moved / moved.norm()
        near = self.unit @ unit
        others = torch.cat([near[:city], near[city + 1 :]])
        features = np.append(moved.double().numpy() * self.scale, 1.0)
        gap = features @ self.weights - self.places.xy[city]
        return CityMatch(
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
    streams = [
        streams_at(model, [_prompt(places, which, codename)], [codename], layer, vector)[0]
        for which in WORDINGS
    ]
    return torch.stack(streams).mean(dim=0)


def _prompt(places: Places, which: int, place: str) -> str:
    return CITY_FACTS.prompt(which, {"place": place, "facet": places.facets[0].name})
