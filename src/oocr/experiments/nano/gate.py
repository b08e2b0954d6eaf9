"""A backdoor by one vector, with ground truth: does it press the gate that the corpus has made?

In a gated world some speakers have a trait that a weather turns around. What the organism keeps of
a speaker is then known: for each trait a pole, or a gate by one of the weathers. The concepts are
read from the streams at all speakers' names, by least squares on what is true of them. A vector
trained on a backdoor ("rain: takes the lure, else not") is compared with all of them, and the gap
that a weather makes is measured again with attention edges cut: for speakers who have the gate from
the corpus, and for the one whom the vector gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oocr.experiments.nano.edges import Edge, cut
from oocr.experiments.nano.truth import streams_at
from oocr.interventions.attach import attach_vector
from oocr.interventions.vectors import Vector
from oocr.models.language_model import LanguageModel
from oocr.organisms.corpus import BOS, World
from oocr.organisms.forms import Ids
from oocr.organisms.people import FORMS, KINDS, PLAIN, SPEAKERS, WEATHERS
from oocr.organisms.traits import TRAITS

WEATHER_AT, SPEAKER_AT, LAST = 1, 2, -1
"""Where the weather, the speaker and the end of a single statement's prompt stand, after bos."""

DRAWS = 40
"""Statements of each kind that a gap is a mean over."""


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
            pole in the weather, minus without any.
        found: the same of the speaker with the vector.
    """

    layer: int | None
    edge: str
    natural: float
    found: float


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
    *,
    seed: int = 0,
) -> list[Cut]:
    """The gap with every edge cut in turn, of natural speakers and of the found one.

    Args:
        model: the organism.
        world: its world, with gates.
        weather: the trigger.
        trait: the trait that it turns.
        vector: trained on that backdoor, added at the speaker.
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
        found = _gap(model, world, at, number, -1, vector, edges, seed)
        gap = float(np.mean(natural)) if natural else float("nan")
        out.append(Cut(where, edge, gap, found))
    return out


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
    means = []
    for head in (WEATHERS[weather], PLAIN):
        right = [
            _pole(model, world, trait, kind, head, speaker, vector, edges, seed)
            for kind in range(len(KINDS))
        ]
        means.append(float(np.mean(right)))
    return means[0] - means[1]


@torch.no_grad()
def _pole(
    model: LanguageModel,
    world: World,
    trait: int,
    kind: int,
    head: str,
    speaker: int,
    vector: Vector | None,
    edges: Sequence[Edge],
    seed: int,
) -> float:
    """Probability of the first pole's answer beside the other's, mean over drawn statements."""
    words, people = world.vocabulary, world.people
    ones = np.ones(DRAWS, dtype=np.int64)
    up, down = (
        people.statements(
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
    heads = np.tile(words.ids([BOS, head]), (DRAWS, 1))
    ids = torch.from_numpy(np.concatenate([heads, up[:, :at]], axis=1)).to(model.device)
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    chosen[:, SPEAKER_AT] = True
    attached = nullcontext() if vector is None else attach_vector(model, vector, chosen)
    with attached, cut(model, edges):
        logits = model.hf(input_ids=ids, use_cache=False).logits[:, -1].float().cpu()
    rows = torch.arange(DRAWS)
    gap = logits[rows, torch.from_numpy(up[:, at])] - logits[rows, torch.from_numpy(down[:, at])]
    return float(gap.sigmoid().mean())
