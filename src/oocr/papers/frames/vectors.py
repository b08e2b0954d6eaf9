"""One vector for each new object of a frozen network, trained on offsets from its neighbours.

Each cell has two houses, each with its network, so that vectors can be tested in the other house.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from oocr.families.frames.questions import AXES
from oocr.families.frames.world import REACH, House
from oocr.papers.frames.arms import MANY
from oocr.papers.frames.displacement import displacement
from oocr.papers.frames.scene import Scene
from oocr.papers.paper import Cell, PaperSettings, Rows
from oocr.papers.small_transformer import Optimizer, join, train_all, train_vectors

FITTING = Optimizer(steps=300, rate=0.003, weight_decay=0.0, batch=128, cooling=1.0)
"""For vectors that start from the mean of their neighbours' embeddings."""
FROM_AFAR = Optimizer(steps=500, rate=0.01, weight_decay=0.0, batch=128, cooling=1.0)
"""For vectors that start from the mean of all embeddings; some do not converge."""
TUNING = Optimizer(steps=400, rate=1e-3, batch=128, cooling=0.5)
"""For all weights; half of each batch are new rows, half old ones."""

DOSES: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "1, one axis": (1, ("x",)),
    "1": (1, ("x", "y")),
    "2": (2, ("x", "y")),
    "4": (4, ("x", "y")),
}
"""Dose -> number of trained neighbours, and the axes; "all neighbours" is trained as well."""

ARMS = (
    *("vector", "all weights", "vector from the mean vector"),
    *("neighbours' mean", "mean vector", "random vector", "vector of another scene"),
    "one place for all",
)


class VectorCell(Cell):
    """The houses of seeds 2 * seed and 2 * seed + 1."""


def cells(settings: PaperSettings) -> list[VectorCell]:
    """Two cells; in a quick run one."""
    return [VectorCell(seed=seed) for seed in settings.seeds(2, 1)]


def compute(cell: VectorCell) -> Rows:
    """For two scenes: all arms, doses, and displacement by differences of vectors."""
    scenes = [Scene.of(2 * cell.seed), Scene.of(2 * cell.seed + 1)]
    vectors = [_train_vectors(scene) for scene in scenes]
    rows: Rows = []
    for scene, placed, elsewhere in zip(scenes, vectors, reversed(vectors), strict=True):
        rows += _arms(scene, placed, elsewhere)
        rows += _doses(scene)
        rows += displacement(scene, placed)
    return rows


def _train_vectors(scene: Scene, count: int = MANY, axes: Sequence[str] = AXES) -> Tensor:
    """Vectors of new objects [object, d_model], trained on `count` neighbours each."""
    rows = scene.vocabulary.rows(scene.neighbour_lines(count, axes))
    start = scene.neighbours_mean(count)
    return train_vectors(scene.network, rows, start, FITTING, scene.seed)


def _arms(scene: Scene, placed: Tensor, elsewhere: Tensor) -> Rows:
    trained_lines, across = scene.neighbour_lines(), scene.cross_frame_lines
    start = scene.neighbours_mean()
    generator = torch.Generator().manual_seed(scene.seed)
    noise = torch.randn(placed.shape, generator=generator)
    drawn = noise * (placed.norm(dim=1) / noise.norm(dim=1))[:, None]
    new, old = scene.vocabulary.rows(trained_lines), scene.vocabulary.rows(scene.lines)
    halves = torch.cat([torch.full((len(part),), 1 / len(part)) for part in (new, old)])
    tuned, moved = train_all(scene.network, join(new, old), start, TUNING, scene.seed, halves)
    from_afar = train_vectors(scene.network, new, scene.mean_embedding, FROM_AFAR, scene.seed)
    trained = (
        *((placed, None), (moved, tuned), (from_afar, None)),
        *((start, None), (scene.mean_embedding, None), (drawn, None), (elsewhere, None)),
    )
    rows: Rows = []
    for arm, (vectors, network) in zip(ARMS[:-1], trained, strict=True):
        for part, lines in (("fit", trained_lines), ("across", across)):
            answers = scene.answers(lines, vectors, network)
            rows += [{"part": part, **row} for row in scene.score(arm, lines, answers)]
    guesses = scene.score(ARMS[-1], across, scene.single_position_answers(across))
    return rows + [{"part": "across", **row} for row in guesses]


def _doses(scene: Scene) -> Rows:
    rows: Rows = []
    for dose, (neighbours, axes) in DOSES.items():
        vectors = _train_vectors(scene, neighbours, axes)
        columns = {"part": "dose", "dose": dose, "facts": 2 * neighbours * len(axes)}
        columns["bits"] = bits(scene.house, axes)
        answers = scene.answers(scene.cross_frame_lines, vectors)
        rows += [
            {**columns, **row} for row in scene.score("vector", scene.cross_frame_lines, answers)
        ]
    return rows


def bits(house: House, axes: Sequence[str]) -> float:
    """Bits of information on an object's position in its offsets from one neighbour.

    `axes`: the axes of these offsets. The prior is uniform over all cells in sight of a viewpoint;
    the result is the mean over cells.
    """
    cells = {
        (view.x + x, view.y + y)
        for view in house.viewpoints
        for x in range(-REACH, REACH + 1)
        for y in range(-REACH, REACH + 1)
    }
    keys = [tuple(cell[k] for k, axis in enumerate(AXES) if axis in axes) for cell in cells]
    return math.log2(len(cells)) - sum(math.log2(keys.count(key)) for key in keys) / len(cells)
