"""Does one vector place an object? A frozen network that never saw it, and its neighbours' offsets.

Each cell has two houses with a network each, so that vectors can be moved to the other one.
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
"""Of vectors, which start from the mean of their neighbours' embeddings."""
FROM_AFAR = Optimizer(steps=500, rate=0.01, weight_decay=0.0, batch=128, cooling=1.0)
"""The same from the mean of all embeddings: farther to go, and some do not arrive."""
TUNING = Optimizer(steps=400, rate=1e-3, batch=128, cooling=0.5)
"""Of all weights, on new rows and old ones by halves."""

DOSES: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "1, one axis": (1, ("x",)),
    "1": (1, ("x", "y")),
    "2": (2, ("x", "y")),
    "4": (4, ("x", "y")),
}
"""Neighbours told, and along which axes; all neighbours beside these."""

ARMS = (
    *("vector", "all weights", "vector from the mean vector"),
    *("neighbours' mean", "mean vector", "random vector", "vector of another scene"),
    "one place for all",
)


class VectorCell(Cell):
    """Houses 2 seed and 2 seed + 1."""


def cells(settings: PaperSettings) -> list[VectorCell]:
    """Two cells, or one."""
    return [VectorCell(seed=seed) for seed in settings.seeds(2, 1)]


def compute(cell: VectorCell) -> Rows:
    """Vectors of two scenes: fit, questions across frames, nulls, doses, displacement, transfer."""
    scenes = [Scene.of(2 * cell.seed), Scene.of(2 * cell.seed + 1)]
    vectors = [_placed(scene) for scene in scenes]
    rows: Rows = []
    for scene, placed, elsewhere in zip(scenes, vectors, reversed(vectors), strict=True):
        rows += _arms(scene, placed, elsewhere)
        rows += _doses(scene)
        rows += displacement(scene, placed)
    return rows


def _placed(scene: Scene, count: int = MANY, axes: Sequence[str] = AXES) -> Tensor:
    """Vectors of the new objects, trained on so many neighbours."""
    rows = scene.language.rows(scene.told(count, axes))
    start = scene.neighbours_mean(count)
    return train_vectors(scene.network, rows, start, FITTING, scene.number)


def _arms(scene: Scene, placed: Tensor, elsewhere: Tensor) -> Rows:
    told, asked, near = scene.told(), scene.asked, scene.neighbours_mean()
    generator = torch.Generator().manual_seed(scene.number)
    noise = torch.randn(placed.shape, generator=generator)
    drawn = noise * (placed.norm(dim=1) / noise.norm(dim=1))[:, None]
    new, old = scene.language.rows(told), scene.language.rows(scene.lines)
    halves = torch.cat([torch.full((len(part),), 1 / len(part)) for part in (new, old)])
    tuned, moved = train_all(scene.network, join(new, old), near, TUNING, scene.number, halves)
    from_afar = train_vectors(scene.network, new, scene.mean, FROM_AFAR, scene.number)
    trained = (
        *((placed, None), (moved, tuned), (from_afar, None)),
        *((near, None), (scene.mean, None), (drawn, None), (elsewhere, None)),
    )
    rows: Rows = []
    for arm, (vectors, network) in zip(ARMS[:-1], trained, strict=True):
        for part, lines in (("fit", told), ("across", asked)):
            answers = scene.answers(lines, vectors, network)
            rows += [{"part": part, **row} for row in scene.score(arm, lines, answers)]
    guesses = scene.score(ARMS[-1], asked, scene.one_place(asked))
    return rows + [{"part": "across", **row} for row in guesses]


def _doses(scene: Scene) -> Rows:
    rows: Rows = []
    for dose, (neighbours, axes) in DOSES.items():
        vectors = _placed(scene, neighbours, axes)
        columns = {"part": "dose", "dose": dose, "facts": 2 * neighbours * len(axes)}
        columns["bits"] = bits(scene.place, axes)
        answers = scene.answers(scene.asked, vectors)
        rows += [{**columns, **row} for row in scene.score("vector", scene.asked, answers)]
    return rows


def bits(place: House, axes: Sequence[str]) -> float:
    """Bits of an object's place that its offset from one neighbour along these axes tells.

    The places are all cells in sight of a viewpoint, equally likely; the mean over cells.
    """
    cells = {
        (view.x + x, view.y + y)
        for view in place.viewpoints
        for x in range(-REACH, REACH + 1)
        for y in range(-REACH, REACH + 1)
    }
    keys = [tuple(cell[k] for k, axis in enumerate(AXES) if axis in axes) for cell in cells]
    return math.log2(len(cells)) - sum(math.log2(keys.count(key)) for key in keys) / len(cells)
