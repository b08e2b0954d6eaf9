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
from torch import Tensor

from oocr.data.batches import TokenSequence, pad
from oocr.data.tokens import encode_prompt
from oocr.engine.recording import record
from oocr.explain.geometry import units_of
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from oocr_organisms.facts import CITY_FACTS, COUNTRIES, Places

RIDGE = 1.0
"""Penalty of the probe for coordinates, on streams scaled to variance 1."""
HELD_OUT = -1
"""The name that probes are not fitted on: it tells distances and directions only."""
SPREAD = 0.95
"""Share of the concepts' variance that their subspace is to hold."""


@dataclass(frozen=True, slots=True)
class CityMatch:
    """How near one stream is to the concept of its city."""

    city: str  # its first name
    cosine: float  # with the city's concept
    others: float  # the largest with another city's concept
    rank: int  # of the city among all by cosine; 1 is the nearest
    inside: float  # share of the squared norm within the concepts' subspace
    country: bool  # whether the nearest country's mean is the city's own
    place: float  # distance between the probe's coordinates and the true ones, in units of the map


@dataclass(frozen=True, slots=True)
class Truth:
    """Trained vectors compared with the concepts of their cities, at one block's output."""

    trained: int  # block at whose output the vectors are added; -1 is the embedding's
    layer: int  # block whose output is read
    found: tuple[CityMatch, ...]  # of each vector
    random: tuple[CityMatch, ...]  # of random directions of the vectors' norms in their place
    named: tuple[CityMatch, ...]  # of real names that the probes were not fitted on
    dimensions: int  # of the concepts' subspace
    d_model: int  # of the stream
    spread: float  # root mean square distance of cities from the middle of the map, for `place`


def truth(
    model: LanguageModel,
    places: Places,
    vectors: Mapping[str, Vector],
    *,
    layer: int | None = None,
    randoms: int = 5,
) -> Truth:
    """Compare trained vectors (by a city's first name) with the concepts of their cities.

    A vector is added at a span of its codename. `layer` is the block whose output is read, at or
    above the vectors'; None: where they are added. `randoms`: random directions per vector.
    """
    trained = next(iter(vectors.values())).layer
    at = trained if layer is None else layer
    probes = CityProbes(model, places, at)
    first_names = [city[0] for city in places.names]
    matches: dict[str, list[CityMatch]] = {"found": [], "random": [], "named": []}
    for number, (name, vector) in enumerate(vectors.items()):
        city = first_names.index(name)
        seeds = range(1000 * number, 1000 * number + randoms)
        drawn = [random_vector(vector, vector.norm, seed) for seed in seeds]
        for kind, added in [("found", vector), *(("random", other) for other in drawn)]:
            with added.on(model):
                stream = city_streams(model, places, [added.spans[added.positions]], at)[0]
            matches[kind].append(probes.match(city, stream))
        matches["named"].append(probes.match(city, probes.names[city, HELD_OUT]))
    gaps = places.xy - places.xy.mean(axis=0)
    return Truth(
        trained=trained,
        layer=at,
        dimensions=probes.basis.shape[1],
        d_model=model.d_model,
        spread=float(np.sqrt((gaps**2).sum(axis=1).mean())),
        **{kind: tuple(of_kind) for kind, of_kind in matches.items()},
    )


def city_streams(
    model: LanguageModel, places: Places, names: Sequence[str], layer: int
) -> Float[Tensor, "name d_model"]:
    """The stream at names or codenames of cities, mean over wordings; see `streams_at`."""
    facet = places.facets[0].name
    streams = [
        streams_at(
            model,
            [CITY_FACTS.prompt(which, {"place": name, "facet": facet}) for name in names],
            names,
            layer,
        )
        for which in range(len(CITY_FACTS.texts))
    ]
    return torch.stack(streams).mean(dim=0)


def streams_at(
    model: LanguageModel, prompts: Sequence[str], names: Sequence[str], layer: int
) -> Float[Tensor, "prompt d_model"]:
    """The stream at each prompt's name, at a block's output (-1: the embedding's)."""
    encoded = [
        encode_prompt(model.tokenizer, prompt, {"name": name})
        for prompt, name in zip(prompts, names, strict=True)
    ]
    batch = pad([TokenSequence.of(tokens) for tokens in encoded], 0, model.device)
    recording = record(model, batch, [layer + 1], cache=False)
    at = torch.tensor([tokens.spans["name"][-1] for tokens in encoded])  # prompts are of one length
    return recording.inputs[layer + 1][torch.arange(len(at)), at].float().cpu()


class CityProbes:
    """What is read off a stream, fitted on the organism's own names except the last.

    Attributes:
        names: stream at each name, mean over wordings. `[city, name, d_model]`
        unit, countries: directions of the cities' concepts and of the countries' means.
        basis: orthonormal, of the concepts' subspace. `[d_model, k]`
        weights: of the probe for coordinates, its last row the intercept. `[d_model + 1, 2]`
    """

    def __init__(self, model: LanguageModel, places: Places, layer: int) -> None:
        names = [name for city in places.names for name in city]
        streams = city_streams(model, places, names, layer)
        self.places = places
        self.names = streams.reshape(len(places.names), -1, streams.shape[-1])
        self.centre = self.names.mean(dim=(0, 1))
        fitted = self.names[:, :HELD_OUT] - self.centre
        cities, country = fitted.mean(dim=1), torch.from_numpy(places.country)
        means = torch.stack([cities[country == n].mean(dim=0) for n in range(COUNTRIES)])
        self.unit, self.countries = units_of(cities), units_of(means)
        _, sizes, right = torch.linalg.svd(cities, full_matrices=False)
        share = (sizes**2).cumsum(0) / (sizes**2).sum()
        self.basis = right[: int((share < SPREAD).sum()) + 1].T
        x = fitted.reshape(-1, fitted.shape[-1]).double().numpy()
        y = np.repeat(places.xy, fitted.shape[1], axis=0)
        self.scale = 1 / x.std(axis=0)
        features = np.c_[x * self.scale, np.ones(len(x))]
        penalty = RIDGE * np.eye(features.shape[1])
        penalty[-1, -1] = 0
        self.weights = np.linalg.solve(features.T @ features + penalty, features.T @ y)

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
