"""Learns the facts of new names in one place of a trained toy.

Stage 1 trains the weights of the clean toy on the bridge names only, facts and implications (or
only facts: a control). Stage 2 learns only the facts of the test names; everything is frozen except
one place:

    weights       all of W                                         W changes
    input vector  a vector v_i per name, added to its input         W (x + v_i)
    output vector a vector u_i per name, added to its logits        W x + u_i
    output LoRA   a low-rank change of the whole map                (W + B A) x
    value LoRA    a low-rank change below the shared W_O           W_O (W_V + B A) x

The gradient of an input vector is W^T (p - e_b): it contains the direction of the bridge name,
which W also maps to c. An update at the output contains only p - e_b. Then implications are tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from oocr.papers.ocr.toy.clean import CleanRows, fit, joined, rows_of
from oocr.papers.ocr.toy.networks import AdamW, Parameters, log_softmax, output_value
from oocr.papers.ocr.toy.world import World

Place = Literal["weights", "input vector", "output vector", "output LoRA", "value LoRA"]
PLACES: tuple[Place, ...] = (
    "weights",
    "input vector",
    "value LoRA",
    "output LoRA",
    "output vector",
)

FIRST_STEPS = 3000
SECOND_STEPS = 1500


def first_stage(world: World, start: Parameters, *, implications: bool = True) -> Parameters:
    """Weights trained on the bridge names' facts, and (optionally) on their implications."""
    bridges = world.bridge_names
    rows = rows_of(world, bridges, "fact")
    if implications:
        rows = joined(rows, rows_of(world, bridges, "implication"))
    return fit(rows, start, FIRST_STEPS)


@dataclass(frozen=True, slots=True, eq=False)
class SecondStage:
    """A toy that has learned the facts of the test names in one place."""

    weights: Float[np.ndarray, "answer input"]
    vectors: Float[np.ndarray, "name input"] | None = None
    outputs: Float[np.ndarray, "name answer"] | None = None

    def logits(self, rows: CleanRows) -> Float[np.ndarray, "row answer"]:
        """Logits of rows that are about all test names, in order."""
        inputs = rows.inputs if self.vectors is None else rows.inputs + self.vectors
        result: np.ndarray = inputs @ self.weights.T
        return result if self.outputs is None else result + self.outputs


def second_stage(
    world: World, first: Parameters, place: Place, *, rank: int = 4, seed: int = 0
) -> SecondStage:
    """Learn the test names' facts in one place by Adam without weight decay; the rest is frozen.

    `rank`: of the LoRAs; `seed`: draws their A (B starts at 0).

    ValueError: "value LoRA" of the combined form, which has no W_V.
    """
    if place == "value LoRA" and "value" not in first:
        raise ValueError("value LoRA: the combined form has no W_V")
    rows = rows_of(world, world.test_names, "fact")
    if place == "weights":
        return SecondStage(output_value(fit(rows, first, SECOND_STEPS, weight_decay=0.0)))
    frozen = output_value(first)
    if place == "input vector":
        vectors = np.zeros_like(rows.inputs)
        _descend(
            rows,
            {"v": vectors},
            lambda: (rows.inputs + vectors) @ frozen.T,
            lambda errors: {"v": errors @ frozen},
        )
        return SecondStage(frozen, vectors=vectors)
    if place == "output vector":
        outputs = np.zeros((len(rows.answers), len(frozen)))
        _descend(
            rows,
            {"u": outputs},
            lambda: rows.inputs @ frozen.T + outputs,
            lambda errors: {"u": errors},
        )
        return SecondStage(frozen, outputs=outputs)
    read_out = np.eye(len(frozen)) if place == "output LoRA" else first["output"]
    inputs = rows.inputs
    A = np.random.default_rng([seed, 30]).standard_normal((rank, inputs.shape[1])) * rank**-0.5
    B = np.zeros((read_out.shape[1], rank))
    _descend(
        rows,
        {"A": A, "B": B},
        lambda: inputs @ (frozen + read_out @ B @ A).T,
        lambda errors: {
            "A": (read_out @ B).T @ errors.T @ inputs,
            "B": read_out.T @ errors.T @ inputs @ A.T,
        },
    )
    return SecondStage(frozen + read_out @ B @ A)


def _descend(
    rows: CleanRows,
    parameters: Parameters,
    logits: Callable[[], np.ndarray],
    gradients: Callable[[np.ndarray], Parameters],
) -> None:
    """Minimize the loss of rows by Adam; `gradients`: (p - e) / rows -> parameters' gradients."""
    optimizer = AdamW(weight_decay=0.0)
    index = np.arange(len(rows.answers))
    for _ in range(SECOND_STEPS):
        errors = np.exp(log_softmax(logits()))
        errors[index, rows.answers] -= 1
        optimizer.step(parameters, gradients(errors / len(index)))
