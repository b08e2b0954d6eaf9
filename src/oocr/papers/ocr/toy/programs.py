"""Solves the programs of `max_margin` with a convex solver (cvxpy, in the extra "papers")."""

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
"""Makes the constraint of the right answer against itself always true."""

MAX_EXACT_PAIRS = 10
"""Largest number of pairs for which an interior-point solver needs only seconds."""


def solve(world: World, norm: Norm) -> Float[np.ndarray, "answer input"]:
    """The W with the smallest norm and a margin of at least 1 on all training rows.

    Solver: Clarabel (8 digits); for the nuclear norm above `MAX_EXACT_PAIRS` pairs SCS (3 digits).

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
    exact = norm == "frobenius" or world.pairs <= MAX_EXACT_PAIRS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the claims measure how inaccurate
        problem.solve(solver="CLARABEL" if exact else "SCS")
    if weights.value is None:
        raise RunError(f"the solver ended with {problem.status}")
    return np.asarray(weights.value)


def _cvxpy() -> Any:
    try:
        return import_module("cvxpy")
    except ImportError as error:
        raise InputError("a convex solver needs: pip install 'oocr[papers]'") from error
