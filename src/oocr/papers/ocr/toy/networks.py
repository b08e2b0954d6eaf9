"""The toy's two networks with analytic gradients (float64), and AdamW.

One layer, one head, linear attention, no MLP, no residual stream, no positions. Tokens are one-hot;
the answer is read at the last token, the end token x_T:

    logits = W sum_t (x_t . W_KQ x_T) x_t      W = W_O W_V (factorized) or W_OV (combined)

The attention to a token is a number s[token] (a column of W_Q; W_K is the identity). With
counts[token] = number of occurrences in the sequence, this is exactly

    logits = W z,   z = counts * s.

With G = (softmax(logits) - one_hot) / batch:

    dL/dW = G^T z,   dL/ds = sum over rows of (G W) * counts.
Huang et al. 2506.10887, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Form = Literal["factorized", "combined"]

Parameters = dict[str, np.ndarray]
"""Arrays by name: `attention` [token]; `output` [token, head] and `value` [head, token], or
`output_value` [token, token]."""

SMALL = 1e-4
"""Value of the initial weights of both main arms."""

RATE, WEIGHT_DECAY = 5e-3, 0.03
"""Learning rate and weight decay of the paper's training."""

RANDOM_SCALE = 128**-0.5
"""Standard deviation of the initial weights in the paper's rank sweep."""


def symmetric_start(tokens: int, form: Form) -> Parameters:
    """Initial weights of the main arms: all equal, but W_V is a scaled identity."""
    start: Parameters = {"attention": np.full(tokens, SMALL)}
    if form == "combined":
        return {**start, "output_value": np.full((tokens, tokens), SMALL)}
    square = np.full((tokens, tokens), SMALL)
    return {**start, "output": square, "value": SMALL * np.eye(tokens)}


def output_value(parameters: Mapping[str, np.ndarray]) -> Float[np.ndarray, "answer token"]:
    """W: the product W_O W_V, or W_OV."""
    if "output_value" in parameters:
        combined: np.ndarray = parameters["output_value"]
        return combined
    product: np.ndarray = parameters["output"] @ parameters["value"]
    return product


def effective(parameters: Mapping[str, np.ndarray]) -> Float[np.ndarray, "answer token"]:
    """W diag(s): what one occurrence of a token adds to each logit."""
    result: np.ndarray = output_value(parameters) * parameters["attention"]
    return result


def logits_of(
    parameters: Mapping[str, np.ndarray], counts: Float[np.ndarray, "row token"]
) -> Float[np.ndarray, "row answer"]:
    """The logits of all tokens at the end of each sequence."""
    z = counts * parameters["attention"]
    if "output_value" in parameters:
        combined: np.ndarray = z @ parameters["output_value"].T
        return combined
    factorized: np.ndarray = (z @ parameters["value"].T) @ parameters["output"].T
    return factorized


def log_softmax(logits: Float[np.ndarray, "row answer"]) -> Float[np.ndarray, "row answer"]:
    """Log-probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def loss_and_gradients(
    parameters: Mapping[str, np.ndarray],
    counts: Float[np.ndarray, "row token"],
    answers: Int[np.ndarray, " row"],
) -> tuple[float, Parameters]:
    """Mean cross-entropy over all tokens (nats), and its gradient for each array."""
    z = counts * parameters["attention"]
    if "output_value" in parameters:
        combined = parameters["output_value"]
        loss, errors = _loss_and_errors(z @ combined.T, answers)
        by_z = errors @ combined
        return loss, {"output_value": errors.T @ z, "attention": (by_z * counts).sum(axis=0)}
    output, value = parameters["output"], parameters["value"]
    heads = z @ value.T
    loss, errors = _loss_and_errors(heads @ output.T, answers)
    by_head = errors @ output
    return loss, {
        "output": errors.T @ heads,
        "value": by_head.T @ z,
        "attention": ((by_head @ value) * counts).sum(axis=0),
    }


def _loss_and_errors(
    logits: Float[np.ndarray, "row answer"], answers: Int[np.ndarray, " row"]
) -> tuple[float, Float[np.ndarray, "row answer"]]:
    """Mean cross-entropy, and its gradient with respect to the logits."""
    rows = np.arange(len(answers))
    shifted = logits - logits.max(axis=1, keepdims=True)
    errors = np.exp(shifted)
    totals = errors.sum(axis=1)
    loss = float((np.log(totals) - shifted[rows, answers]).mean())
    errors /= totals[:, None]
    errors[rows, answers] -= 1
    errors /= len(answers)
    return loss, errors


@dataclass
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019); the paper calls it Adam.

    `frozen`: names of arrays that are not updated.
    """

    learning_rate: float = RATE
    weight_decay: float = WEIGHT_DECAY
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._step = 0
        self._means: Parameters = {}
        self._squares: Parameters = {}

    def step(self, parameters: Parameters, gradients: Mapping[str, np.ndarray]) -> None:
        """Update the parameters in place."""
        self._step += 1
        first, second = self.betas
        for name, gradient in gradients.items():
            if name in self.frozen:
                continue
            mean = self._means.setdefault(name, np.zeros_like(gradient))
            square = self._squares.setdefault(name, np.zeros_like(gradient))
            mean += (1 - first) * (gradient - mean)
            square += (1 - second) * (gradient**2 - square)
            size = np.sqrt(square / (1 - second**self._step)) + self.epsilon
            parameters[name] *= 1 - self.learning_rate * self.weight_decay
            parameters[name] -= self.learning_rate / (1 - first**self._step) * mean / size
