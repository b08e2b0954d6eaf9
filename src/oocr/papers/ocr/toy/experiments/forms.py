"""Cells of experiments that train both forms, and the max-margin solution of each form."""

from __future__ import annotations

from oocr.papers.ocr.toy.max_margin import Norm, least_gap
from oocr.papers.ocr.toy.networks import Form
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Cell, PaperSettings

FORMS: tuple[Form, ...] = ("factorized", "combined")
UNIT = ("seed", "pair")
"""Units of intervals. Pairs count as independent: networks differ no more than that explains."""

NORMS: dict[Form, Norm] = {"factorized": "nuclear", "combined": "frobenius"}
"""Norm that training in each form minimizes in the limit (Theorem 1)."""


class FormCell(Cell):
    """A form of the network."""

    form: Form


def both_forms(settings: PaperSettings) -> list[FormCell]:
    """Both forms for each seed."""
    seeds = settings.seeds(full=5, quick=3)
    return [FormCell(seed=seed, form=form) for seed in seeds for form in FORMS]


def solution_gap(world: World, form: Form) -> float:
    """The gap g of the max-margin solution that belongs to a form."""
    return least_gap(world.bridges, world.tests, NORMS[form])
