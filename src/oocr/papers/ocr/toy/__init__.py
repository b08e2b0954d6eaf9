"""The toy of "Generalization or Hallucination?" (arXiv 2506.10887), in plain functions.

    from oocr.papers.ocr import toy

    world = toy.World(pairs=5, bridges=1, tests=3)
    trained = toy.train_form(toy.World(), "factorized", seed=0)   # a main arm of the paper: seconds
    toy.least_gap(1, 3), toy.least_nuclear_norm(5, 1, 3)          # .577, 13.164: closed forms
    toy.margins(toy.solution(world, toy.least_gap(1, 3)), world)
    toy.margins(toy.solve(world, "nuclear"), world)               # with a convex solver (cvxpy)

Each file has its formula on top: `world`, `networks`, `training`, `clean`,
`max_margin`, `programs`, `regularized`, `places`, `shares`.
"""

from __future__ import annotations

from oocr.papers.ocr.toy.max_margin import (
    least_frobenius_square,
    least_gap,
    least_nuclear_norm,
    margins,
    solution,
)
from oocr.papers.ocr.toy.places import first_stage, second_stage
from oocr.papers.ocr.toy.programs import solve
from oocr.papers.ocr.toy.training import train, train_form
from oocr.papers.ocr.toy.world import World

__all__ = [
    "World",
    "first_stage",
    "least_frobenius_square",
    "least_gap",
    "least_nuclear_norm",
    "margins",
    "second_stage",
    "solution",
    "solve",
    "train",
    "train_form",
]
