"""Training that approaches the max-margin solutions: a regularization path, and plain descent.

For lam -> 0 the minimizer of

    loss(W_O W_V) + lam/2 (||W_O||_F^2 + ||W_V||_F^2)      [combined: loss(W) + lam/2 ||W||_F^2]

converges in direction to a solution of the nuclear (combined: Frobenius) program, since the
minimum of (||W_O||^2 + ||W_V||^2) / 2 over all factorizations of W is ||W||_*. Convergence is
logarithmic in lam, and L-BFGS may stop at a stationary point of lower rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oocr.papers.ocr.toy.clean import CleanRows
from oocr.papers.ocr.toy.networks import Parameters, loss_and_gradients

PENALTIES = tuple(10.0 ** (-half / 2) for half in range(4, 15))
"""lam from 1e-2 to 1e-7, by half decades."""


def path(
    rows: CleanRows, start: Parameters, penalties: Sequence[float] = PENALTIES
) -> list[Parameters]:
    """The minimizer at each penalty by L-BFGS, started from the previous minimizer."""
    from scipy.optimize import minimize

    names = [name for name in start if name != "attention"]
    shapes = [start[name].shape for name in names]
    ends = np.cumsum([start[name].size for name in names])[:-1]

    def unpacked(flat: np.ndarray) -> Parameters:
        parts = [
            part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)
        ]
        return {"attention": start["attention"], **dict(zip(names, parts, strict=True))}

    def objective(flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        loss, gradients = loss_and_gradients(unpacked(flat), rows.inputs, rows.answers)
        slope = np.concatenate([gradients[name].ravel() for name in names])
        return loss + penalty / 2 * float(flat @ flat), slope + penalty * flat

    flat = np.concatenate([start[name].ravel() for name in names])
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10}
    minimizers: list[Parameters] = []
    for penalty in penalties:
        flat = minimize(
            objective, flat, args=(penalty,), jac=True, method="L-BFGS-B", options=options
        ).x
        minimizers.append(unpacked(flat))
    return minimizers


def descend(rows: CleanRows, start: Parameters, steps: int = 60_000) -> Parameters:
    """Plain full-batch gradient descent at rate 1; attention stays 1."""
    parameters = {name: array.copy() for name, array in start.items()}
    for _ in range(steps):
        _, gradients = loss_and_gradients(parameters, rows.inputs, rows.answers)
        for name, gradient in gradients.items():
            if name != "attention":
                parameters[name] -= gradient
    return parameters
