"""Does a trained vector of a city match the organism's own concept of that city?

The concept of a city is the residual stream at its names (mean over names and wordings) minus the
mean over all cities. It is compared with the stream at the codename with the vector added, minus
the same mean: by cosine, and by probes fitted on the organism's own names (ridge regression for
coordinates, nearest mean for country and city).
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
"""Ridge penalty of the probe for coordinates, on streams scaled to variance 1."""
HELD_OUT = -1
"""Index of the name that probes are not fitted on: in the corpus it has no facets."""
SPREAD = 0.95
"""Share of the concepts' variance in their subspace."""


@dataclass(frozen=True, slots=True)
class CityMatch:
    """Similarity of one stream to the concept of its city.

    Attributes:
        city: its first name.
        cosine: with the city's concept.
        others: largest cosine with another city's concept.
        rank: of the city among all cities by cosine; 1 is the nearest.
        inside: share of the squared norm within the concepts' subspace.
        country: whether the nearest mean of a country is that of the city's country.
        position_error: distance of the probe's coordinates from the true ones, in units of the map.
    """

    city: str
    cosine: float
    others: float
    rank: int
    inside: float
    country: bool
    position_error: float


@dataclass(frozen=True, slots=True)
class ConceptMatches:
    """Trained vectors compared with the concepts of their cities, at one block's output.

    Attributes:
        added_at: block at whose output the vectors are added; -1: the embedding.
        read_at: block whose output is compared.
        vectors: one match for each trained vector.
        random: matches of random directions with the vectors' norms.
        real_names: matches of real names that the probes were not fitted on.
        dimensions: of the concepts' subspace.
        d_model: of the stream.
        spread: root mean square distance of cities from the map's centre, for `position_error`.
    """

    added_at: int
    read_at: int
    vectors: tuple[CityMatch, ...]
    random: tuple[CityMatch, ...]
    real_names: tuple[CityMatch, ...]
    dimensions: int
    d_model: int
    spread: float


def match_concepts(
    model: LanguageModel,
    places: Places,
    vectors: Mapping[str, Vector],
    *,
    layer: int | None = None,
    randoms: int = 5,
) -> ConceptMatches:
    """Compare trained vectors with the concepts of their cities.

    `vectors`: first name of a city -> vector, added at its codename; `layer`: block whose output is
    compared, None: where the vectors are added; `randoms`: random directions for each vector.
    """
    added_at = next(iter(vectors.values())).layer
    read_at = added_at if layer is None else layer
    probes = CityProbes(model, places, read_at)
    first_names = [city[0] for city in places.names]
    matches: dict[str, list[CityMatch]] = {"vectors": [], "random": [], "real_names": []}
    for number, (name, vector) in enumerate(vectors.items()):
        city = first_names.index(name)
        seeds = range(1000 * number, 1000 * number + randoms)
        drawn = [random_vector(vector, vector.norm, seed) for seed in seeds]
        for kind, added in [("vectors", vector), *(("random", other) for other in drawn)]:
            with added.on(model):
                stream = city_streams(model, places, [added.spans[added.positions]], read_at)[0]
            matches[kind].append(probes.match(city, stream))
        matches["real_names"].append(probes.match(city, probes.names[city, HELD_OUT]))
    gaps = places.xy - places.xy.mean(axis=0)
    return ConceptMatches(
        added_at=added_at,
        read_at=read_at,
        dimensions=probes.basis.shape[1],
        d_model=model.d_model,
        spread=float(np.sqrt((gaps**2).sum(axis=1).mean())),
        **{kind: tuple(of_kind) for kind, of_kind in matches.items()},
    )


def city_streams(
    model: LanguageModel, places: Places, names: Sequence[str], layer: int
) -> Float[Tensor, "name d_model"]:
    """The stream at names or codenames of cities, mean over wordings (see `streams_at`)."""
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
    at = torch.tensor(
        [tokens.spans["name"][-1] for tokens in encoded]
    )  # all prompts have one length
    return recording.inputs[layer + 1][torch.arange(len(at)), at].float().cpu()


class CityProbes:
    """Probes of streams, fitted on the organism's own names except the last name of each city.

    Attributes:
        names: stream at each name, mean over wordings [city, name, d_model].
        unit: unit directions of the cities' concepts [city, d_model].
        countries: unit directions of the countries' means [country, d_model].
        basis: orthonormal basis of the concepts' subspace [d_model, k].
        weights: of the probe for coordinates; the last row is the intercept [d_model + 1, 2].
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
        cosines = self.unit @ unit
        others = torch.cat([cosines[:city], cosines[city + 1 :]])
        features = np.append(moved.double().numpy() * self.scale, 1.0)
        gap = features @ self.weights - self.places.xy[city]
        return CityMatch(
            city=self.places.names[city][0],
            cosine=float(cosines[city]),
            others=float(others.max()),
            rank=1 + int((others > cosines[city]).sum()),
            inside=float((unit @ self.basis).square().sum()),
            country=int((self.countries @ unit).argmax()) == int(self.places.country[city]),
            position_error=float(np.hypot(*gap)),
        )
