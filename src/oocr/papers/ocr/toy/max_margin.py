"""The max-margin programs of the toy, solved exactly, and the margins of any weights.

Both ask for the smallest W [answer, input] (see `clean`) that answers every training row with a
margin of 1 to all other answers:

    min ||W||_*    (what gradient flow on W_O W_V tends to)
    min ||W||_F^2  (what it tends to on W_OV)      s.t.  (W z)_a - (W z)_a' >= 1 for all a' != a

With n pairs of m_tr bridge and m_te test names the programs are symmetric under permutations of the
pairs. So the solution is, in a name's column, a gap times (1 - 1/n) at its own answer and times
-1/n at the others of that kind; the gap is 1 but for the c's of test names, where it is g. The
relations' columns are 1/2 on their own kind of answer and -1/2 on the other.

On the (n - 1)-dimensional "which pair" part W acts as [[a, b], [a, b g]] with a = sqrt(m_tr) and
b = sqrt(m_te): its squared nuclear norm F^2 + 2 |det| = 2 a^2 + b^2 + b^2 g^2 + 2 a b (1 - g) is
least at g = a / b (at most 1), its squared Frobenius norm 2 a^2 + b^2 (1 + g^2) at g = 0.
The values are ours, not the paper's; it shows g > 0 and g = 0 (Theorem 2).
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
    """g, the solution's margin of a test name's c over other c's: min(1, sqrt(m_tr / m_te))."""
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
    """The matrix with this gap at the c's of test names; `least_gap` gives the programs' own."""
    n = world.pairs
    of_b = np.eye(n)[:, world.pair_of(np.arange(world.names))] - 1 / n  # [pair, name]
    of_c = of_b.copy()
    of_c[:, world.test_names] *= gap
    kinds = np.full((2 * n, 2), -0.5)
    kinds[:n, 0] = kinds[n:, 1] = 0.5
    return np.concatenate([kinds, np.concatenate([of_b, of_c])], axis=1)


@dataclass(frozen=True, slots=True)
class Margins:
    """Least margins of weights.

    Attributes:
        training: of all training rows, over all other answers.
        test: of test implications, over the other c's.
        nuclear: ||W||_* / training margin: what the nuclear program makes small.
        frobenius: ||W||_F^2 / (training margin)^2.
    """

    training: float
    test: float
    nuclear: float
    frobenius: float

    @property
    def ratio(self) -> float:
        """Test margin over training margin: g of the solutions."""
        return self.test / self.training


def margins(weights: Float[np.ndarray, "answer input"], world: World) -> Margins:
    """The margins of a W [answer, input] of a world."""
    rows = training_rows(world)
    training = _least(rows.inputs @ weights.T, rows.answers)
    asked = rows_of(world, world.test_names, "implication")
    n = world.pairs
    test = _least((asked.inputs @ weights.T)[:, n:], asked.answers - n)
    nuclear = float(np.linalg.norm(weights, "nuc"))
    square = float((weights**2).sum())
    return Margins(training, test, nuclear / training, square / training**2)


def _least(logits: np.ndarray, right: np.ndarray) -> float:
    """The least of: the right answer's logit minus the highest other."""
    rows = np.arange(len(right))
    others = logits.copy()
    others[rows, right] = -np.inf
    return float((logits[rows, right] - others.max(axis=1)).min())
