"""What the names' columns of W have in common: one vector for all names, or one for each pair.

If several answers are learned, one vector for all is too strict: a column can be the same for all
names of a pair and differ between pairs. So the pair's mean and its bridge names are compared too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from oocr.papers.ocr.toy.world import World


@dataclass(frozen=True, slots=True)
class Shares:
    """Similarity of the columns d of the test names.

    Attributes:
        one_vector: |mean d|^2 / mean |d|^2, the share of energy in one vector for all names.
        pair_vector: the same with a mean for each pair.
        own_bridge: mean cosine with the mean column of the pair's bridge names, after subtracting
            the mean of the test names and of the bridge names.
        other_bridge: the same with the bridge names of other pairs.
    """

    one_vector: float
    pair_vector: float
    own_bridge: float
    other_bridge: float


def shares(weights: Float[np.ndarray, "answer input"], world: World) -> Shares:
    """The similarity of the test names' columns of a W (see `clean`)."""
    columns = weights[:, 2:].T
    tests, bridges = columns[world.test_names], columns[world.bridge_names]
    pairs = world.pair_of(world.test_names)
    of_pair = _means(tests, pairs, world.pairs)
    energy = (tests**2).sum(axis=1).mean()
    centred = _units(tests - tests.mean(axis=0))
    of_bridge = _means(bridges, world.pair_of(world.bridge_names), world.pairs)
    cosines = centred @ _units(of_bridge - of_bridge.mean(axis=0)).T
    same_pair = np.arange(world.pairs) == pairs[:, None]
    return Shares(
        one_vector=float((tests.mean(axis=0) ** 2).sum() / energy),
        pair_vector=float((of_pair[pairs] ** 2).sum(axis=1).mean() / energy),
        own_bridge=float(cosines[same_pair].mean()),
        other_bridge=float(cosines[~same_pair].mean()),
    )


def _means(columns: np.ndarray, pairs: np.ndarray, count: int) -> np.ndarray:
    return np.stack([columns[pairs == pair].mean(axis=0) for pair in range(count)])


def _units(rows: np.ndarray) -> np.ndarray:
    units: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units
