"""A backdoor by one vector, compared with the gated traits of the corpus.

What an organism has learned about a speaker is known: for each trait a pole, or a gate (the pole
depends on the weather). A vector trained on a backdoor ("rain: takes the lure, otherwise not") is
compared with the directions of these concepts. Then the gap between weathers is measured with one
attention edge removed at a time: for speakers who are gated in the corpus, and for the speaker with
the vector. Removing an edge can remove any gap, also one that is not from the corpus; so organisms
without gates and random directions are measured as well.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.attention import attention_of
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from oocr_organisms.corpus import World
from oocr_organisms.language import BOS, Ids
from oocr_organisms.people import FORMS, KINDS, PLAIN, SPEAKERS, TRAITS, WEATHERS, NanoQuestionKind
from oocr_organisms.study.concept_match import streams_at

WEATHER_AT, SPEAKER_AT, LAST = 1, 2, -1
"""Positions of the weather, the speaker and the last token in a statement's prompt after <bos>."""
EDGES = {
    "speaker reads weather": (SPEAKER_AT, WEATHER_AT),
    "last token reads weather": (LAST, WEATHER_AT),
    "last token reads speaker": (LAST, SPEAKER_AT),
}
"""Name -> positions of the reading token and of the token that it reads."""
DRAWS = 40
"""Number of statements of each kind in the mean gap."""
RANDOMS = 10
"""Number of random directions that a trained vector is compared with."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An attention edge in a block: token `reader` reads token `source`; < 0: from the end."""

    layer: int
    reader: int
    source: int


@contextmanager
def cut_attention(model: LanguageModel, edges: Sequence[Edge]) -> Iterator[None]:
    """Set the weight of attention edges to 0 in all heads inside the block; then remove the hooks.

    Only for models whose attention takes an additive mask (Llama), and sequences without padding.
    InputError: an unknown block.
    """
    edges_of: dict[nn.Module, list[Edge]] = {}
    for edge in edges:
        if not 0 <= edge.layer < model.n_blocks:
            raise InputError(f"layer: found {edge.layer}; allowed: 0 to {model.n_blocks - 1}")
        edges_of.setdefault(attention_of(model, edge.layer), []).append(edge)

    def masked(attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        size = hidden.shape[1]
        blocked = torch.ones(size, size, dtype=torch.bool, device=hidden.device).triu(1)
        for edge in edges_of[attention]:
            blocked[edge.reader, edge.source] = True
        mask = hidden.new_zeros(size, size)
        mask = mask.masked_fill(blocked, torch.finfo(hidden.dtype).min)
        return args, {**kwargs, "attention_mask": mask[None, None]}

    with ExitStack() as stack:
        for attention in edges_of:
            handle = attention.register_forward_pre_hook(masked, with_kwargs=True)
            stack.callback(handle.remove)
        yield


@dataclass(frozen=True, slots=True)
class ConceptCosine:
    """Signed cosine of a vector with a concept: "risk" (a pole), "risk if rain" (a gate)."""

    concept: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Gaps with one edge removed.

    A gap is the probability of the first pole in the weather, minus that without a weather.

    Attributes:
        layer: block of the edge; None: no edge is removed.
        edge: name of the edge (see `EDGES`).
        natural: mean gap of speakers who are gated in the corpus; None: there are none.
        with_vector: gap of the speaker with the vector.
        random: gap of the speaker with each random direction.
    """

    layer: int | None
    edge: str
    natural: float | None
    with_vector: float
    random: tuple[float, ...]


def concept_directions(
    model: LanguageModel, world: World, layer: int = -1
) -> dict[str, Float[Tensor, " d_model"]]:
    """Concept -> its direction at a block's output, for each feature of speakers in the world.

    Least squares with a small ridge: stream at a name (after the word for no weather) = mean + sum
    of feature x direction.
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
    present = {name: feature for name, feature in features.items() if feature.any()}
    x = torch.from_numpy(np.stack([*present.values(), np.ones(SPEAKERS)], axis=1)).double()
    penalty = 1e-3 * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + penalty, x.T @ streams)
    return {name: weights[at].float() for at, name in enumerate(present)}


def concept_cosines(
    direction: Float[Tensor, " d_model"], concepts: dict[str, Float[Tensor, " d_model"]]
) -> list[ConceptCosine]:
    """Cosines of a direction with all concepts, sorted by |cosine|, largest first."""
    unit = direction.float() / direction.float().norm()
    cosines = [
        ConceptCosine(name, float(unit @ (other / other.norm())))
        for name, other in concepts.items()
    ]
    return sorted(cosines, key=lambda concept: -abs(concept.cosine))


def measure_cuts(
    model: LanguageModel,
    world: World,
    weather: str,
    trait: str,
    vector: Vector,
    randoms: Sequence[Vector],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Cut]:
    """The gaps without a removed edge, then with each edge of each block removed.

    Args:
        model: an organism.
        world: its world.
        weather: the trigger of the backdoor.
        trait: the trait that the trigger changes.
        vector: trained on the backdoor, added at the speaker.
        randoms: random directions at the same place, as nulls.
        seed: draws the statements.
        draws: number of statements of each kind.
    """
    people = world.people
    at, number = [known.name for known in TRAITS].index(trait), WEATHERS.index(weather)
    gated = np.flatnonzero(people.weather[:, at] == number).tolist()
    # The same statements for each cut and each vector.
    statements_of = {
        speaker: [_statements(world, (at, number, speaker), kind, seed, draws) for kind in KINDS]
        for speaker in (-1, *gated)
    }

    def gap(speaker: int, added: Vector | None, edges: Sequence[Edge]) -> float:
        with nullcontext() if added is None else added.on(model), cut_attention(model, edges):
            return float(
                np.mean([_gap(model, *statements) for statements in statements_of[speaker]])
            )

    cases: list[tuple[int | None, str, list[Edge]]] = [(None, "nothing", [])]
    cases += [
        (layer, name, [Edge(layer, *edge)])
        for layer in range(model.n_blocks)
        for name, edge in EDGES.items()
    ]
    cuts: list[Cut] = []
    for layer, name, edges in cases:
        natural = [int(people.sign[speaker, at]) * gap(speaker, None, edges) for speaker in gated]
        with_vector, *random = (gap(-1, added, edges) for added in (vector, *randoms))
        mean = float(np.mean(natural)) if natural else None
        cuts.append(Cut(layer, name, mean, with_vector, tuple(random)))
    return cuts


def random_directions(vector: Vector, member: str, count: int = RANDOMS) -> list[Vector]:
    """Random directions with a vector's norm and position; different for each member."""
    first = zlib.crc32(member.encode())
    return [random_vector(vector, vector.norm, first + draw) for draw in range(count)]


@torch.no_grad()
def _gap(model: LanguageModel, ids: Tensor, up: Tensor, down: Tensor) -> float:
    """Mean probability of the first pole in the weather, minus that without a weather.

    `ids` [prompt, token]: prompts in the weather, then the same without; `up`, `down` [prompt]:
    answers of the first and the second pole.
    """
    out = model.hf(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=1)
    rows = torch.arange(len(ids))
    logits = out.logits[:, -1]
    taken = (logits[rows, up] - logits[rows, down]).float().sigmoid().cpu()
    half = len(ids) // 2
    return float(taken[:half].mean() - taken[half:].mean())


def _statements(
    world: World, case: tuple[int, int, int], kind: NanoQuestionKind, seed: int, draws: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts in the weather, then the same without a weather; answers of both poles.

    `case`: indices of trait, weather and speaker.
    """
    (trait, weather, speaker), words, number = case, world.vocabulary, KINDS.index(kind)
    ones, rng = np.ones(draws, dtype=np.int64), np.random.default_rng
    up, down = (
        world.people.statements(
            words, speaker * ones, trait * ones, number * ones, pole * ones, rng([seed, number])
        )
        for pole in (1, -1)
    )
    at = FORMS[kind].answer_at
    heads = np.repeat(
        [words.ids([BOS, head]) for head in (WEATHERS[weather], PLAIN)], draws, axis=0
    )
    ids = np.concatenate([heads, np.tile(up[:, :at], (2, 1))], axis=1)
    first, second = (torch.from_numpy(np.tile(answers[:, at], 2)) for answers in (up, down))
    return torch.from_numpy(ids), first, second
