"""Displacement: is v_B - v_A linear in the offset of B from A, and does adding it move C?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor

from oocr.families.frames.world import PlacedObject
from oocr.papers.frames.probe import positions_of, r2, ridge
from oocr.papers.frames.scene import Scene
from oocr.papers.frames.tokens import Line, count_right, pair_lines
from oocr.papers.paper import Rows

WITHIN, ACROSS = "within a frame", "across frames"
"""Whether A and B, whose difference is added to C, are in the same frame."""
TRIPLES = 60
"""Number of random triples A, B, C."""
OTHERS = 12
"""Number of objects of other frames in the questions about each displaced object."""


def displacement(scene: Scene, placed: Tensor) -> Rows:
    """Rows of both questions; `placed`: vectors of the new objects [object, d_model]."""
    objects, table = scene.known_objects, scene.embeddings(scene.known_objects)
    rows: Rows = [
        {"part": "probe", "scene": scene.seed, "arm": arm, "value": value}
        for arm, value in _difference_r2(scene, objects, table, placed).items()
    ]
    rng = random.Random(f"displacement {scene.seed}")
    for kind in (WITHIN, ACROSS):
        rows += _moved(scene, objects, table, kind, rng)
    return rows


def _difference_r2(
    scene: Scene, objects: Sequence[PlacedObject], table: Tensor, placed: Tensor
) -> dict[str, float]:
    """R² of offsets from differences of vectors; the regression is fitted on two thirds."""
    order = list(range(len(objects)))
    random.Random(f"probe {scene.seed}").shuffle(order)
    cut = 2 * len(order) // 3
    fit, test, mixed = order[:cut], order[cut:], order[:cut]
    random.Random(f"shuffled {scene.seed}").shuffle(mixed)
    table, places = table.double(), positions_of(objects)
    weights = ridge(table[fit], places[fit])
    wrong = ridge(table[fit], places[mixed])
    return {
        "known objects": _offsets_r2(table[test], places[test], weights),
        "trained vectors": _offsets_r2(placed.double(), positions_of(scene.new_objects), weights),
        "shuffled places": _offsets_r2(table[test], places[test], wrong),
    }


def _offsets_r2(vectors: Tensor, places: Tensor, weights: Tensor) -> float:
    """R² of (v_B - v_A) @ weights as the offset of B from A, over all ordered pairs."""
    a, b = (list(side) for side in zip(*permutations(range(len(vectors)), 2), strict=True))
    return r2((vectors[b] - vectors[a]) @ weights, places[b] - places[a])


def _moved(
    scene: Scene, objects: Sequence[PlacedObject], table: Tensor, kind: str, rng: random.Random
) -> Rows:
    """Questions about C + (v_B - v_A) across frames; null: a random difference of the same norm."""
    rows_of = {obj.name: row for row, obj in enumerate(objects)}
    generator = torch.Generator().manual_seed(scene.seed)
    moved: list[Line] = []
    still: list[Line] = []
    vectors: list[Tensor] = []
    noise: list[Tensor] = []
    ids = dict(scene.vocabulary.ids)
    while len(vectors) < TRIPLES:
        a, b, c = rng.sample(list(objects), 3)
        x, y = b.x - a.x, b.y - a.y
        if (a.moment == b.moment) is not (kind == WITHIN) or not (x or y):
            continue
        step = table[rows_of[b.name]] - table[rows_of[a.name]]
        drawn = torch.randn(step.shape, generator=generator)
        before = PlacedObject(f"moved {len(vectors)}", c.moment, c.x, c.y)
        after = replace(before, x=c.x + x, y=c.y + y)
        ids[before.name] = scene.vocabulary.size + len(vectors)
        vectors.append(table[rows_of[c.name]] + step)
        noise.append(table[rows_of[c.name]] + drawn * step.norm() / drawn.norm())
        for other in rng.sample([obj for obj in objects if obj.moment != c.moment], OTHERS):
            lines = (pair_lines(scene.house, obj, other) for obj in (before, after))
            for old, new in zip(*lines, strict=True):
                if abs(new.value) <= scene.vocabulary.reach and new.value != old.value:
                    moved.append(new)
                    still.append(old)
    vocabulary = replace(scene.vocabulary, ids=ids)
    rows: Rows = []
    for arm, table_of in (("moved", vectors), ("random difference", noise)):
        answers = vocabulary.answers(scene.network, moved, torch.stack(table_of))
        for target, wanted in (("new place", moved), ("old place", still)):
            rows += [
                {"part": "moved", "scene": scene.seed, "arm": arm, "target": target, **row}
                for row in count_right(
                    wanted, answers, lambda line: {"displacement": kind, "object": line.a}
                )
            ]
    return rows
