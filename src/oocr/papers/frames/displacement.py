"""Displacement: is a difference of vectors an offset, and does adding it move an object?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor

from oocr.families.frames.world import Thing
from oocr.papers.frames.probe import r2, ridge, spots
from oocr.papers.frames.scene import Scene
from oocr.papers.frames.tokens import Line, pair_lines, scored
from oocr.papers.paper import Rows

WITHIN, ACROSS = "within a frame", "across frames"
"""Whether A and B, whose difference is added to C, are of one frame."""
TRIPLES = 60
"""Draws of A, B and C."""
OTHERS = 12
"""Objects of other frames that each displaced one is asked about."""


def displacement(scene: Scene, placed: Tensor) -> Rows:
    """Is a difference of vectors linear in the offset, and does adding it move an object?"""
    known, table = scene.known, scene.embeddings(scene.known)
    rows: Rows = [
        {"part": "probe", "scene": scene.number, "arm": arm, "value": value}
        for arm, value in _difference_r2(scene, known, table, placed).items()
    ]
    rng = random.Random(f"displacement {scene.number}")
    for kind in (WITHIN, ACROSS):
        rows += _moved(scene, known, table, kind, rng)
    return rows


def _difference_r2(
    scene: Scene, known: Sequence[Thing], table: Tensor, placed: Tensor
) -> dict[str, float]:
    """R2 of offsets from differences of vectors: of the regression of places on two thirds."""
    order = list(range(len(known)))
    random.Random(f"probe {scene.number}").shuffle(order)
    cut = 2 * len(order) // 3
    fit, test, mixed = order[:cut], order[cut:], order[:cut]
    random.Random(f"shuffled {scene.number}").shuffle(mixed)
    table, places = table.double(), spots(known)
    weights = ridge(table[fit], places[fit])
    wrong = ridge(table[fit], places[mixed])
    return {
        "known objects": _offsets_r2(table[test], places[test], weights),
        "trained vectors": _offsets_r2(placed.double(), spots(scene.new), weights),
        "shuffled places": _offsets_r2(table[test], places[test], wrong),
    }


def _offsets_r2(vectors: Tensor, places: Tensor, weights: Tensor) -> float:
    """Of (v_B - v_A) weights against the offset of B from A, over all ordered pairs."""
    a, b = (list(side) for side in zip(*permutations(range(len(vectors)), 2), strict=True))
    return r2((vectors[b] - vectors[a]) @ weights, places[b] - places[a])


def _moved(
    scene: Scene, known: Sequence[Thing], table: Tensor, kind: str, rng: random.Random
) -> Rows:
    """Where C + (v_B - v_A) is, asked across frames; null: a random difference of that norm."""
    rows_of = {thing.name: row for row, thing in enumerate(known)}
    generator = torch.Generator().manual_seed(scene.number)
    moved: list[Line] = []
    still: list[Line] = []
    vectors: list[Tensor] = []
    noise: list[Tensor] = []
    ids = dict(scene.language.ids)
    while len(vectors) < TRIPLES:
        a, b, c = rng.sample(list(known), 3)
        x, y = b.x - a.x, b.y - a.y
        if (a.moment == b.moment) is not (kind == WITHIN) or not (x or y):
            continue
        step = table[rows_of[b.name]] - table[rows_of[a.name]]
        drawn = torch.randn(step.shape, generator=generator)
        here = Thing(f"moved {len(vectors)}", c.moment, c.x, c.y)
        there = replace(here, x=c.x + x, y=c.y + y)
        ids[here.name] = scene.language.vocabulary + len(vectors)
        vectors.append(table[rows_of[c.name]] + step)
        noise.append(table[rows_of[c.name]] + drawn * step.norm() / drawn.norm())
        for other in rng.sample([thing for thing in known if thing.moment != c.moment], OTHERS):
            lines = (pair_lines(scene.place, thing, other) for thing in (here, there))
            for old, new in zip(*lines, strict=True):
                if abs(new.value) <= scene.language.reach and new.value != old.value:
                    moved.append(new)
                    still.append(old)
    language = replace(scene.language, ids=ids)
    rows: Rows = []
    for arm, table_of in (("moved", vectors), ("random difference", noise)):
        answers = language.answers(scene.network, moved, torch.stack(table_of))
        for target, wanted in (("new place", moved), ("old place", still)):
            rows += [
                {"part": "moved", "scene": scene.number, "arm": arm, "target": target, **row}
                for row in scored(
                    wanted, answers, lambda line: {"displacement": kind, "object": line.a}
                )
            ]
    return rows
