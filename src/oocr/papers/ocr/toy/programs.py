"""The max-margin programs of `max_margin` by a convex solver (the extra "papers": cvxpy)."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float

from oocr.errors import InputError, RunError
from oocr.papers.ocr.toy.clean import inputs_of, training_rows
from oocr.papers.ocr.toy.max_margin import Norm
from oocr.papers.ocr.toy.world import World

LARGE = 1e3
"""Added to the right answer's margin over itself, which is not asked for."""

MOST_EXACT = 10
"""Pairs up to which an interior-point solver does the nuclear program in seconds."""


def solve(world: World, norm: Norm) -> Float[np.ndarray, "answer input"]:
    """The smallest W by this norm with a margin of 1 on all training rows.

    Up to `MOST_EXACT` pairs by Clarabel (8 digits), above by SCS (3 digits).

    InputError: cvxpy is not installed. RunError: the solver gives up.
    """
    cvxpy: Any = _cvxpy()
    rows = training_rows(world)
    right = np.eye(2 * world.pairs)[rows.answers]
    weights = cvxpy.Variable((2 * world.pairs, inputs_of(world)))
    logits = rows.inputs @ weights.T
    of_right = cvxpy.sum(cvxpy.multiply(right, logits), axis=1, keepdims=True)
    above = of_right @ np.ones((1, 2 * world.pairs)) - logits
    size = cvxpy.normNuc(weights) if norm == "nuclear" else cvxpy.sum_squares(weights)
    problem = cvxpy.Problem(cvxpy.Minimize(size), [above + LARGE * right >= 1])
    exact = norm == "frobenius" or world.pairs <= MOST_EXACT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the claims say by how much
        problem.solve(solver="CLARABEL" if exact else "SCS")
    if weights.value is None:
        raise RunError(f"the solver ended with {problem.status}")
    return np.asarray(weights.value)


def _cvxpy() -> Any:
    try:
        return import_module("cvxpy")
    except ImportError as error:
        raise InputError("a convex solver needs: pip install 'oocr[papers]'") from error
