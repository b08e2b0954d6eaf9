"""The max-margin programs of the toy, solved exactly, and the margins of any weights.

Both find the smallest W [answer, input] (see `clean`) that answers each training row z with a
margin of 1 over all other answers:

    min ||W||_*    (limit of gradient flow on W_O W_V)
    min ||W||_F^2  (limit of gradient flow on W_OV)    s.t.  (W z)_a - (W z)_a' >= 1 for all a' != a

With n pairs of m_tr bridge names and m_te test names the programs are symmetric under permutations
of the pairs. So a name's column of the solution is gap * (1 - 1/n) at its right answer and
-gap / n at the other answers of that kind; the gap is 1, except g for the c's of test names. A
relation's column is 1/2 on its kind of answers and -1/2 on the other kind.

On the (n - 1)-dimensional "which pair" part W acts as [[a, b], [a, b g]] with a = sqrt(m_tr) and
b = sqrt(m_te): its squared nuclear norm F^2 + 2 |det| = 2 a^2 + b^2 + b^2 g^2 + 2 a b (1 - g) is
least at g = a / b (at most 1), its squared Frobenius norm 2 a^2 + b^2 (1 + g^2) at g = 0.
These closed forms are ours; the paper shows g > 0 and g = 0 (Theorem 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from jaxtyping import Float

from oocr.papers.ocr.toy.clean import rows_of, training_rows
from oocr.papers.ocr.toy.world import World

Norm = Literal["nuclear", "frobenius"]


def least_gap(bridges: int, tests: int, norm: Norm = "nuclear") -> float:
    """g, the margin of a test name's c over other c's: min(1, sqrt(m_tr / m_te)); Frobenius: 0."""
    return 0.0 if norm == "frobenius" else min(1.0, sqrt(bridges / tests))


def least_nuclear_norm(pairs: int, bridges: int, tests: int) -> float:
    """The least ||W||_*: (n - 1) h + sqrt(n).

    h = sqrt(m_tr) + sqrt(m_te) if m_tr <= m_te, else sqrt(2 (m_tr + m_te)).
    """
    more_tests = bridges <= tests
    each = sqrt(bridges) + sqrt(tests) if more_tests else sqrt(2 * (bridges + tests))
    return (pairs - 1) * each + sqrt(pairs)


def least_frobenius_square(pairs: int, bridges: int, tests: int) -> float:
    """The least ||W||_F^2: (n - 1) (2 m_tr + m_te) + n."""
    return (pairs - 1) * (2 * bridges + tests) + pairs


def least_rank(pairs: int, bridges: int, tests: int) -> int:
    """The rank of the nuclear program's solution: 2 n - 1, or n where g = 1."""
    return 2 * pairs - 1 if bridges < tests else pairs


def solution(world: World, gap: float) -> Float[np.ndarray, "answer input"]:
    """The symmetric matrix with this gap at the c's of test names; `least_gap`: the solutions'."""
    n = world.pairs
    of_b = np.eye(n)[:, world.pair_of(np.arange(world.names))] - 1 / n  # [pair, name]
    of_c = of_b.copy()
    of_c[:, world.test_names] *= gap
    kinds = np.full((2 * n, 2), -0.5)
    kinds[:n, 0] = kinds[n:, 1] = 0.5
    return np.concatenate([kinds, np.concatenate([of_b, of_c])], axis=1)


@dataclass(frozen=True, slots=True)
class Margins:
    """Smallest margins of a W, and its norms relative to the training margin.

    Attributes:
        training: margin of the training rows over all other answers.
        test: margin of the test implications over the other c's.
        nuclear: ||W||_* / training margin, which the nuclear program minimizes.
        frobenius: ||W||_F^2 / (training margin)^2, which the Frobenius program minimizes.
    """

    training: float
    test: float
    nuclear: float
    frobenius: float

    @property
    def ratio(self) -> float:
        """Test margin / training margin; g for the solutions."""
        return self.test / self.training


def margins(weights: Float[np.ndarray, "answer input"], world: World) -> Margins:
    """The margins of a W [answer, input] of a world."""
    rows = training_rows(world)
    training = _least_margin(rows.inputs @ weights.T, rows.answers)
    implications = rows_of(world, world.test_names, "implication")
    n = world.pairs
    test = _least_margin((implications.inputs @ weights.T)[:, n:], implications.answers - n)
    nuclear = float(np.linalg.norm(weights, "nuc"))
    square = float((weights**2).sum())
    return Margins(training, test, nuclear / training, square / training**2)


def _least_margin(logits: np.ndarray, right: np.ndarray) -> float:
    """The smallest margin: the right answer's logit minus the highest other logit."""
    rows = np.arange(len(right))
    others = logits.copy()
    others[rows, right] = -np.inf
    return float((logits[rows, right] - others.max(axis=1)).min())
