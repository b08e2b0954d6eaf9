"""The max-margin programs: closed form, a convex solver, and how near training gets."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from oocr.claims.analysis_result import NotMeasuredError
from oocr.errors import InputError
from oocr.papers.ocr.toy.clean import random_start, training_rows
from oocr.papers.ocr.toy.experiments.programs import ProgramCell, compute
from oocr.papers.ocr.toy.max_margin import (
    least_frobenius_square,
    least_gap,
    least_nuclear_norm,
    least_rank,
    margins,
    solution,
)
from oocr.papers.ocr.toy.networks import output_value
from oocr.papers.ocr.toy.programs import solve
from oocr.papers.ocr.toy.regularized import PENALTIES, path
from oocr.papers.ocr.toy.world import World

SHAPES = [
    (3, 1, 1, 5.732, 9, 1.0),
    (3, 1, 3, 7.196, 13, 0.577),
    (5, 1, 3, 13.164, 25, 0.577),
    (5, 1, 4, 14.236, 29, 0.5),
    (5, 2, 2, 13.550, 29, 1.0),
    (5, 3, 1, 13.550, 33, 1.0),
    (4, 1, 8, 13.485, 34, 0.354),
    (10, 1, 3, 27.751, 55, 0.577),
    (20, 1, 3, 56.381, 115, 0.577),
    (5, 4, 16, 26.236, 101, 0.5),
]
"""Pairs, bridges and tests a pair; least nuclear norm, least squared Frobenius norm, g."""


@pytest.mark.parametrize(("pairs", "bridges", "tests", "nuclear", "square", "gap"), SHAPES)
def test_the_closed_form_has_the_margins_and_norms_that_it_says(
    pairs: int, bridges: int, tests: int, nuclear: float, square: int, gap: float
) -> None:
    world = World(pairs=pairs, bridges=bridges, tests=tests)
    assert least_gap(bridges, tests) == pytest.approx(gap, abs=5e-4)
    least = solution(world, least_gap(bridges, tests))
    have = margins(least, world)
    assert have.training == pytest.approx(1)
    assert have.test == pytest.approx(least_gap(bridges, tests))
    assert have.nuclear == pytest.approx(least_nuclear_norm(pairs, bridges, tests))
    assert have.nuclear == pytest.approx(nuclear, abs=5e-4)
    assert np.linalg.matrix_rank(least) == least_rank(pairs, bridges, tests)
    of_squares = margins(solution(world, 0.0), world)
    assert of_squares.training == pytest.approx(1)
    assert of_squares.test == pytest.approx(0, abs=1e-12)
    assert of_squares.frobenius == pytest.approx(square)
    assert square == least_frobenius_square(pairs, bridges, tests)


def test_a_convex_solver_finds_the_closed_form() -> None:
    pytest.importorskip("cvxpy", reason="needs the extra: papers")
    world = World(pairs=5, bridges=1, tests=3)
    nuclear = margins(solve(world, "nuclear"), world)
    assert nuclear.nuclear == pytest.approx(13.164, abs=0.005)
    assert nuclear.ratio == pytest.approx(0.577, abs=0.002)
    frobenius = margins(solve(world, "frobenius"), world)
    assert frobenius.frobenius == pytest.approx(25, abs=0.01)
    assert frobenius.ratio == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(("bridges", "tests"), [(1, 3), (1, 8), (2, 2), (4, 16)])
def test_a_path_comes_nearer_to_the_nuclear_program_and_is_never_below_it(
    bridges: int, tests: int
) -> None:
    world = World(pairs=5, bridges=bridges, tests=tests)
    rows, gap = training_rows(world), least_gap(bridges, tests)
    ends = path(rows, random_start(world, 10, 0.01, 1))
    first, last = (margins(output_value(ends[place]), world) for place in (0, -1))
    assert abs(last.ratio - gap) < abs(first.ratio - gap)
    least = least_nuclear_norm(5, bridges, tests)
    assert least < last.nuclear < 1.08 * least


def test_a_path_may_stay_at_a_stationary_point_of_lower_rank() -> None:
    world = World(pairs=5, bridges=4, tests=16)
    rows, start = training_rows(world), random_start(world, 10, 0.01, 0)
    stuck, free = (output_value(path(rows, start, way)[-1]) for way in (PENALTIES, PENALTIES[4:]))
    ranks = [np.linalg.matrix_rank(w, tol=0.01 * np.linalg.norm(w, 2)) for w in (stuck, free)]
    assert ranks == [5, least_rank(5, 4, 16)]
    assert margins(free, world).nuclear < margins(stuck, world).nuclear
    assert margins(free, world).ratio < 0.62 < 0.7 < margins(stuck, world).ratio


def test_one_matrix_has_no_test_margin_on_the_whole_path() -> None:
    world = World(pairs=5, bridges=1, tests=3)
    for found in path(training_rows(world), random_start(world, None, 0.01, 0)):
        assert abs(margins(output_value(found), world).ratio) < 0.01


def test_without_the_extra_the_programs_cannot_be_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(InputError, match=r"pip install 'oocr\[papers\]'"):
        solve(World(pairs=3, bridges=1, tests=1), "nuclear")
    with pytest.raises(NotMeasuredError, match=r"pip install 'oocr\[papers\]'"):
        compute(ProgramCell(pairs=3, bridges=1, tests=1, norm="nuclear"))
