"""A backdoor by one vector, compared with the gates that the corpus has made.

In a gated world some speakers have a trait that a weather turns around. What the organism keeps of
a speaker is then known: for each trait a pole, or a gate by one of the weathers. These concepts are
read from the residual streams at all speakers' names by least squares. A vector trained on a
backdoor ("rain: takes the lure, else not") is compared with all of them. The gap that a weather
makes is measured with each attention edge cut in turn: for speakers who have the gate from the
corpus, and for the speaker with the vector.

A weather can matter to a vector at the speaker where the speaker reads the weather, or where a
later token reads both, so a cut there may remove any gap, whether the corpus made it or not. Hence
the same in a world without gates, and with random directions of the vector's norm.
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
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from oocr_organisms.corpus import World
from oocr_organisms.language import BOS, Ids
from oocr_organisms.people import FORMS, KINDS, PLAIN, SPEAKERS, TRAITS, WEATHERS
from oocr_organisms.study.concept_match import streams_at

WEATHER_AT, SPEAKER_AT, LAST = 1, 2, -1
"""Positions of the weather, the speaker and the last token in a statement's prompt after <bos>."""
DRAWS = 40
"""Statements of each kind that a gap is a mean over."""
RANDOMS = 10
"""Random directions that a trained vector is compared with."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One token reading another in a block, by their indices; negative: from the end."""

    layer: int
    reader: int
    read: int


@contextmanager
def cut(model: LanguageModel, edges: Sequence[Edge]) -> Iterator[None]:
    """Give attention edges weight 0 in every head while the block runs; hooks go on leaving.

    The model is a Llama, as organisms are (its attention takes an additive mask); sequences are
    without padding.

    Raises:
        InputError: a block that does not exist.
    """
    by_layer: dict[int, list[Edge]] = {}
    for edge in edges:
        if not 0 <= edge.layer < model.n_blocks:
            raise InputError(f"layer: found {edge.layer}; allowed: 0 to {model.n_blocks - 1}")
        by_layer.setdefault(edge.layer, []).append(edge)
    with ExitStack() as stack:
        for layer, here in by_layer.items():
            block: Any = model.anatomy.blocks[layer]
            attention: nn.Module = block.self_attn

            def masked(
                _module: nn.Module,
                args: tuple[Any, ...],
                kwargs: dict[str, Any],
                here: Sequence[Edge] = tuple(here),
            ) -> tuple[tuple[Any, ...], dict[str, Any]]:
                hidden: Tensor = args[0] if args else kwargs["hidden_states"]
                return args, {**kwargs, "attention_mask": _mask(hidden, here)}

            handle = attention.register_forward_pre_hook(masked, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _mask(hidden: Tensor, edges: Sequence[Edge]) -> Tensor:
    """Causal, without the edges. `[1, 1, token, token]`."""
    size = hidden.shape[1]
    allowed = torch.ones(size, size, dtype=torch.bool, device=hidden.device).tril()
    for edge in edges:
        allowed[edge.reader, edge.read] = False
    blocked = torch.zeros(size, size, dtype=hidden.dtype, device=hidden.device)
    return blocked.masked_fill(~allowed, torch.finfo(hidden.dtype).min)[None, None]


@dataclass(frozen=True, slots=True)
class Nearness:
    """Signed cosine of a vector with one concept: "risk" (the pole), "risk if rain" (the gate)."""

    concept: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The gap that a weather makes, with an edge cut.

    A gap is the probability of the first pole in the weather, minus that without any.

    Attributes:
        layer: the block of the edge; None: nothing is cut.
        edge: who reads whom.
        natural: mean gap of speakers who have the gate from the corpus; None: nobody has it.
        found: gap of the speaker with the vector.
        random: gap of the speaker with each random direction.
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


def nearness(
    direction: Float[Tensor, " d_model"], known: dict[str, Float[Tensor, " d_model"]]
) -> list[Nearness]:
    """Cosines of a direction with known concepts, nearest first."""
    unit = direction.float() / direction.float().norm()
    cosines = {name: float(unit @ (other / other.norm())) for name, other in known.items()}
    return [Nearness(*pair) for pair in sorted(cosines.items(), key=lambda pair: -abs(pair[1]))]


def gate(
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
    """The gap with every edge cut in turn, of natural speakers and of the one with the vector.

    `weather` is the trigger, which turns `trait`; `vector`, trained on that backdoor, is added
    at the speaker, `randoms` in its place as a null. `seed` and `draws` are of the statements, so
    many of each kind.
    """
    people = world.people
    at, number = [known.name for known in TRAITS].index(trait), WEATHERS.index(weather)
    gated = np.flatnonzero(people.weather[:, at] == number).tolist()

    def gap(speaker: int, vector: Vector | None, edges: Sequence[Edge]) -> float:
        return _gap(model, world, (at, number, speaker), vector, edges, seed, draws)

    cases: list[tuple[int | None, str, list[Edge]]] = [(None, "nothing", [])]
    for layer in range(model.n_blocks):
        cases += [
            (layer, "speaker reads weather", [Edge(layer, SPEAKER_AT, WEATHER_AT)]),
            (layer, "last token reads weather", [Edge(layer, LAST, WEATHER_AT)]),
            (layer, "last token reads speaker", [Edge(layer, LAST, SPEAKER_AT)]),
        ]
    cuts: list[Cut] = []
    for block, name, edges in cases:
        natural = [int(people.sign[speaker, at]) * gap(speaker, None, edges) for speaker in gated]
        with_vector, *random = (gap(-1, added, edges) for added in (vector, *randoms))
        mean = float(np.mean(natural)) if natural else None
        cuts.append(Cut(block, name, mean, with_vector, tuple(random)))
    return cuts


def random_directions(vector: Vector, member: str, count: int = RANDOMS) -> list[Vector]:
    """Directions of a vector's norm, to be added where it is; others for each member."""
    first = zlib.crc32(member.encode())
    return [random_vector(vector, vector.norm, first + draw) for draw in range(count)]


@torch.no_grad()
def _gap(
    model: LanguageModel,
    world: World,
    case: tuple[int, int, int],
    vector: Vector | None,
    edges: Sequence[Edge],
    seed: int,
    draws: int,
) -> float:
    """Probability of the first pole in the weather minus without any, mean over statements.

    `case` is the indices of trait, weather and speaker.
    """
    gaps = []
    for kind in range(len(KINDS)):
        ids, up, down = _statements(world, case, kind, seed, draws)
        chosen = torch.zeros_like(ids, dtype=torch.bool)
        chosen[:, SPEAKER_AT] = True
        attached = nullcontext() if vector is None else vector.on(model, chosen.to(model.device))
        with attached, cut(model, edges):
            out = model.hf(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=1)
            logits = out.logits[:, -1]
        rows = torch.arange(len(ids))
        taken = (logits[rows, up] - logits[rows, down]).float().sigmoid().cpu()
        gaps.append(float(taken[:draws].mean() - taken[draws:].mean()))
    return float(np.mean(gaps))


def _statements(
    world: World, case: tuple[int, int, int], kind: int, seed: int, draws: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts in the weather, then the same without any; and the answer by either pole of each."""
    (trait, weather, speaker), words = case, world.vocabulary
    ones = np.ones(draws, dtype=np.int64)
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
    heads = np.repeat(
        [words.ids([BOS, head]) for head in (WEATHERS[weather], PLAIN)], draws, axis=0
    )
    ids = np.concatenate([heads, np.tile(up[:, :at], (2, 1))], axis=1)
    first, second = (torch.from_numpy(np.tile(answers[:, at], 2)) for answers in (up, down))
    return torch.from_numpy(ids), first, second
