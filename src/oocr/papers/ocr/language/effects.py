"""What names' vectors and effects have in common: one vector for all names, or one for each pair.

If several answers are learned, one vector for all is too strict: an effect can be the same for all
names of a pair and differ between pairs. So there are the share of energy in one vector, the share
in one vector per pair, and the centred cosine with the mean of the pair's bridge names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.examples import Example
from oocr.engine.forward import final_rows
from oocr.evals.probes import Probes
from oocr.models.language_model import LanguageModel
from oocr.papers.learning import LearnedChange
from oocr.steering.positions import JOIN
from oocr.steering.vectors import Vector


@dataclass(frozen=True, slots=True)
class Shares:
    """Similarity of the effects d [d_model] of n test names.

    Attributes:
        one_vector: n |mean d|² / sum |d|², the share of energy in one vector for all names.
        pair_vector: the same with a mean for each pair.
        own_bridge: mean cosine of a test name's effect with the mean effect of its pair's bridge
            names, after subtracting the mean of all test names and of all bridge names.
        other_bridge: the same with the bridge names of other pairs.
    """

    one_vector: float
    pair_vector: float
    own_bridge: float
    other_bridge: float


def shares_of(
    effects: Float[Tensor, "name d_model"], pairs: Sequence[int], bridge: Sequence[bool]
) -> Shares:
    """The similarity of test names' effects; cosines are nan without bridge names.

    `pairs`: each name's pair; `bridge`: whether it is a bridge name.
    """
    effects, pair = effects.double(), torch.tensor(pairs)
    bridges = torch.tensor(bridge)
    tests, of_test = effects[~bridges], pair[~bridges]
    energy = tests.square().sum()
    centred = tests - tests.mean(dim=0)
    of_bridges = effects[bridges] - effects[bridges].mean(dim=0)
    own_cosines: list[float] = []
    other_cosines: list[float] = []
    by_pair = 0.0
    for number in sorted(set(pairs)):
        same_pair = of_test == number
        by_pair += float(same_pair.sum() * tests[same_pair].mean(dim=0).square().sum())
        middle = of_bridges[pair[bridges] == number].mean(dim=0)
        cosines = torch.cosine_similarity(centred, middle[None], dim=1)
        own_cosines += cosines[same_pair].tolist()
        other_cosines += cosines[~same_pair].tolist()
    return Shares(
        one_vector=float(len(tests) * tests.mean(dim=0).square().sum() / energy),
        pair_vector=by_pair / float(energy),
        own_bridge=_mean(own_cosines),
        other_bridge=_mean(other_cosines),
    )


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else nan


def last_states(
    model: LanguageModel, questions: Sequence[Example]
) -> Float[Tensor, "question d_model"]:
    """The last block's output at each question's last token, with all applied changes."""
    probes = Probes.of(model, questions)
    recordings = probes.frozen(model.n_blocks)
    states = torch.zeros(len(questions), model.d_model)
    for group, handle in zip(probes.groups, recordings, strict=True):
        recording = handle.load(None)
        rows = final_rows(model, recording, None)[0].float().cpu()
        sequences = recording.batch.rows[:, 0].tolist()
        for sequence, row in zip(sequences, rows, strict=True):
            for question, _ in probes.served[group[sequence]]:
                states[question] = row
    return states


def with_directions(
    learned: LearnedChange, directions: Float[Tensor, "name d_model"]
) -> LearnedChange:
    """The learned change with other vectors at the same spans."""
    vector = learned.change
    assert isinstance(vector, Vector)
    shaped = directions if JOIN in vector.positions else directions[0]
    return replace(learned, change=replace(vector, direction=shaped))


def directions_of(learned: LearnedChange) -> Float[Tensor, "name d_model"]:
    """The learned vectors, one row for each span, in the selector's order."""
    vector = learned.change
    assert isinstance(vector, Vector)
    return vector.direction if vector.direction.ndim == 2 else vector.direction[None]


def means_of_others(
    directions: Float[Tensor, "name d_model"], pairs: Sequence[int]
) -> Float[Tensor, "name d_model"]:
    """For each name the mean vector of the other names of its pair.

    ValueError: a pair with one name only.
    """
    pair = torch.tensor(pairs)
    means = []
    for index, number in enumerate(pairs):
        others = (pair == number) & (torch.arange(len(pairs)) != index)
        if not others.any():
            raise ValueError(f"pair {number} has one name only")
        means.append(directions[others].mean(dim=0))
    return torch.stack(means)


def without_pair_direction(
    directions: Float[Tensor, "name d_model"], pairs: Sequence[int], shift: int = 0
) -> Float[Tensor, "name d_model"]:
    """Each vector without its component along the direction u of a pair: v' = v - (v . u) u.

    The pair is the name's own, or the pair `shift` places after it. Its direction is the mean of
    the pair's names (other than this one) minus the mean of all names.
    """
    means, pair = means_of_others(directions, pairs), torch.tensor(pairs)
    numbers = sorted(set(pairs))
    middle = directions.mean(dim=0)
    projected = []
    for index, number in enumerate(pairs):
        mean = means[index]
        if shift:
            target = numbers[(numbers.index(number) + shift) % len(numbers)]
            mean = directions[pair == target].mean(dim=0)
        unit = torch.nn.functional.normalize(mean - middle, dim=0)
        projected.append(directions[index] - (directions[index] @ unit) * unit)
    return torch.stack(projected)
