"""Audits of several fine-tunes of one base: how similar are their vectors?

The mean differences d of all of them are compared at one block, the median of the audits' best
ones: signed cosines cos(d_a, d_b), beside two nulls (`oocr.explain.geometry`). Clusters are of
average linkage: two clusters are joined while the mean cosine between their members is above
`JOINED`, or above the null of directions with the streams' covariance, where that is higher.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median_low

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from oocr.audit.record import UNJUDGED, Audit
from oocr.explain.geometry import likeness
from oocr.io import Record
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector

JOINED = 0.5
"""Least mean cosine between two clusters that are joined."""


class Comparison(Record):
    """Vectors of several fine-tunes at one block's output.

    Attributes:
        names: of the fine-tunes, in the order of clustering.
        cosines: signed, [a, b].
        clusters: each fine-tune's cluster, from 1; ordered by cluster.
        uniform, covariance: 95th centiles of |cosine| of directions drawn at random, uniformly and
            with the residual stream's covariance.
        left_out: fine-tunes that do nothing on the texts, or begin above the block.
    """

    model: str
    layer: int
    names: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]
    clusters: tuple[int, ...]
    uniform: float
    covariance: float
    left_out: tuple[str, ...]

    @property
    def cut(self) -> float:
        """The mean cosine above which clusters are joined."""
        return max(JOINED, self.covariance)


def compare(model: LanguageModel, audits: Mapping[str, Audit]) -> Comparison | None:
    """Compare audits (by name) of fine-tunes of one base; None: fewer than two have a vector."""
    judged = {name: audit for name, audit in audits.items() if audit.kind not in UNJUDGED}
    if len(judged) < 2:
        return None
    layer = median_low(audit.best for audit in judged.values())
    vectors: dict[str, Vector] = {}
    for name, audit in judged.items():
        at = [mean for mean in audit.means if mean.layer == layer and mean.norm > 0]
        vectors |= {name: at[0]} if at else {}
    if len(vectors) < 2:
        return None
    alike = likeness(model, vectors)
    cosines = np.array(alike.cosines)
    order, clusters = clusters_of(cosines, max(JOINED, alike.covariance))
    return Comparison(
        model=model.name,
        layer=layer,
        names=tuple(alike.names[place] for place in order),
        cosines=tuple(tuple(row) for row in cosines[np.ix_(order, order)].tolist()),
        clusters=tuple(clusters[place] for place in order),
        uniform=alike.uniform,
        covariance=alike.covariance,
        left_out=tuple(name for name in audits if name not in vectors),
    )


def clusters_of(cosines: np.ndarray, cut: float) -> tuple[list[int], list[int]]:
    """An order that puts similar vectors next to each other, and each one's cluster number.

    `cosines` are signed, [a, b]; the mean cosine between two clusters is at most `cut`.
    """
    far = np.clip(1 - (cosines + cosines.T) / 2, 0, 2)
    np.fill_diagonal(far, 0)
    condensed = squareform(far, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    labels = fcluster(tree, 1 - cut, "distance").tolist()
    order = _leaves(tree, len(cosines))
    numbers: dict[int, int] = {}
    for place in order:
        numbers.setdefault(labels[place], len(numbers) + 1)
    return order, [numbers[label] for label in labels]


def _leaves(tree: np.ndarray, count: int) -> list[int]:
    """The leaves of a linkage from left to right."""
    stack, order = [2 * count - 2], list[int]()
    while stack:
        node = stack.pop()
        if node < count:
            order.append(node)
        else:
            left, right = tree[node - count, :2].astype(int)
            stack += [int(right), int(left)]
    return order
