"""A backdoor by one vector, beside the gates that the corpus has made and worlds that have none.

In a gated world some speakers have a trait that a weather turns around. What the organism keeps of
a speaker is then known: for each trait a pole, or a gate by one of the weathers. The concepts are
read from the streams at all speakers' names, by least squares on what is true of them. A vector
trained on a backdoor ("rain: takes the lure, else not") is compared with all of them, and the gap
that a weather makes is measured again with attention edges cut: for speakers who have the gate from
the corpus, and for the one whom the vector gave it.

Weathers can matter to a vector at the speaker where the speaker reads the weather, or where a later
token reads both, so a cut there may take any gap away, whether the corpus made it or not. Hence the
same in a world without gates, and of random directions of the vector's norm in its place.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from oocr_organisms.corpus import BOS, World
from oocr_organisms.forms import Ids
from oocr_organisms.people import FORMS, KINDS, PLAIN, SPEAKERS, WEATHERS
from oocr_organisms.study.edges import Edge, cut
from oocr_organisms.study.truth import streams_at
from oocr_organisms.traits import TRAITS

WEATHER_AT, SPEAKER_AT, LAST = 1, 2, -1
"""Where the weather, the speaker and the end of a single statement's prompt stand, after bos."""

DRAWS = 40
"""Statements of each kind that a gap is a mean over."""

RANDOMS = 10
"""Random directions beside a found one."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """A found vector beside one concept of a speaker.

    Attributes:
        concept: "risk" (the pole), or "risk if rain" (the gate).
        cosine: signed.
    """

    concept: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The gap that a weather makes, with an edge cut.

    Attributes:
        layer: the block of the edge; None: nothing is cut.
        edge: who reads whom.
        natural: mean gap of speakers who have the gate from the corpus: probability of the first
            pole in the weather, minus without any; None: nobody has it.
        found: the same of the speaker with the vector.
        random: the same with each random direction in its place.
    """

    layer: int | None
    edge: str
    natural: float | None
    found: float
    random: tuple[float, ...]


def concepts(
    model: LanguageModel, world: World, layer: int = -1
) -> dict[str, Float[Tensor, " d_model"]]:
    """What the organism keeps of speakers at a block's output, one direction per known feature.

    Streams at names (after the word for no weather) = mean + sum of features x directions, by
    least squares with a small ridge.

    Args:
        model: the organism, nothing attached.
        world: its world.
        layer: the block; -1 is the embedding's output.
    """
    people = world.people
    prompts = [f"{PLAIN} {name} is more" for name in people.names]
    streams = streams_at(model, prompts, people.names, layer).double()
    features: dict[str, Ids] = {}
    for at, trait in enumerate(TRAITS):
        sign, weather = people.sign[:, at], people.weather[:, at]
        features[trait.name] = np.where(weather < 0, sign, 0)
        for number, name in enumerate(WEATHERS):
            features[f"{trait.name} if {name}"] = np.where(weather == number, sign, 0)
    present = {name: one for name, one in features.items() if one.any()}
    x = torch.from_numpy(np.stack([*present.values(), np.ones(SPEAKERS)], axis=1)).double()
    penalty = 1e-3 * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + penalty, x.T @ streams)
    return {name: weights[at].float() for at, name in enumerate(present)}


def nearness(
    found: Float[Tensor, " d_model"], known: dict[str, Float[Tensor, " d_model"]]
) -> list[Nearness]:
    """Cosines of a found direction with known concepts, nearest first."""
    unit = found.float() / found.float().norm()
    every = [Nearness(name, float(unit @ (one / one.norm()))) for name, one in known.items()]
    return sorted(every, key=lambda one: -abs(one.cosine))


def gate(
    model: LanguageModel,
    world: World,
    weather: str,
    trait: str,
    vector: Vector,
    randoms: Sequence[Vector],
    *,
    seed: int = 0,
) -> list[Cut]:
    """The gap with every edge cut in turn, of natural speakers and of the found one.

    Args:
        model: the organism.
        world: its world.
        weather: the trigger.
        trait: the trait that it turns.
        vector: trained on that backdoor, added at the speaker.
        randoms: what is put in its place as a null.
        seed: of the statements.
    """
    people = world.people
    at, number = [one.name for one in TRAITS].index(trait), WEATHERS.index(weather)
    mine = np.flatnonzero(people.weather[:, at] == number)
    every: list[tuple[int | None, str, list[Edge]]] = [(None, "nothing", [])]
    for layer in range(model.n_blocks):
        every += [
            (layer, "speaker reads weather", [Edge(layer, SPEAKER_AT, WEATHER_AT)]),
            (layer, "last token reads weather", [Edge(layer, LAST, WEATHER_AT)]),
            (layer, "last token reads speaker", [Edge(layer, LAST, SPEAKER_AT)]),
        ]
    out: list[Cut] = []
    for where, edge, edges in every:
        natural = [
            int(people.sign[one, at]) * _gap(model, world, at, number, int(one), None, edges, seed)
            for one in mine
        ]
        found, *random = (
            _gap(model, world, at, number, -1, one, edges, seed) for one in (vector, *randoms)
        )
        gap = float(np.mean(natural)) if natural else None
        out.append(Cut(where, edge, gap, found, tuple(random)))
    return out


def random_directions(vector: Vector, member: str, count: int = RANDOMS) -> list[Vector]:
    """Directions of a vector's norm, to be added where it is; others for each member."""
    first = zlib.crc32(member.encode())
    return [random_vector(vector, vector.norm, first + draw) for draw in range(count)]


@torch.no_grad()
def _gap(
    model: LanguageModel,
    world: World,
    trait: int,
    weather: int,
    speaker: int,
    vector: Vector | None,
    edges: Sequence[Edge],
    seed: int,
) -> float:
    """Probability of the first pole in the weather minus without any, mean over statements."""
    gaps = []
    for kind in range(len(KINDS)):
        ids, up, down = _statements(world, trait, kind, WEATHERS[weather], speaker, seed)
        chosen = torch.zeros_like(ids, dtype=torch.bool)
        chosen[:, SPEAKER_AT] = True
        attached = nullcontext() if vector is None else vector.on(model, chosen.to(model.device))
        with attached, cut(model, edges):
            out = model.hf(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=1)
            logits = out.logits[:, -1]
        rows = torch.arange(len(ids))
        taken = (logits[rows, up] - logits[rows, down]).float().sigmoid().cpu()
        gaps.append(float(taken[:DRAWS].mean() - taken[DRAWS:].mean()))
    return float(np.mean(gaps))


def _statements(
    world: World, trait: int, kind: int, weather: str, speaker: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts in the weather, then the same without any; and each one's answer by either pole."""
    words = world.vocabulary
    ones = np.ones(DRAWS, dtype=np.int64)
    up, down = (
        world.people.statements(
            words,
            speaker * ones,
            trait * ones,
            kind * ones,
            pole * ones,
            np.random.default_rng([seed, kind]),
        )
        for pole in (1, -1)
    )
    at = FORMS[KINDS[kind]].answer_at
    heads = np.repeat([words.ids([BOS, head]) for head in (weather, PLAIN)], DRAWS, axis=0)
    ids = np.concatenate([heads, np.tile(up[:, :at], (2, 1))], axis=1)
    first, second = (torch.from_numpy(np.tile(some[:, at], 2)) for some in (up, down))
    return torch.from_numpy(ids), first, second
