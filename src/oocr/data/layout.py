"""Where the tokens of a batch's sequences stand, and which columns several sequences share.

Sequences that begin alike (a chat template's system message, one question with several answers)
have their beginnings in the same columns, padded within them, so that each is run once:

    shared by all | shared by the answers of a prompt | each sequence's own
    S1 S2 S3      | .. p1 p2                          | .. a1
    S1 S2 S3      | .. p1 p2                          | b1 b2
    S1 S2 S3      | q1 q2 q3                          | .. c1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SharedColumns:
    """Columns of a batch, each group of sequences that begin alike up to there sharing its own.

    Attributes:
        begin, end: the first column, and the first one after them.
        rows: of each group its first sequence.
        of_row: of each sequence its group.
    """

    begin: int
    end: int
    rows: Int[Tensor, " group"]
    of_row: Int[Tensor, " batch"]

    def per_row(self, values: Tensor) -> Tensor:
        """Values of each sequence [batch, ...] from those of its group [group, ...]."""
        if len(values) == 1:
            return values.expand(len(self.of_row), *values.shape[1:])
        return values.index_select(0, self.of_row.to(values.device))

    def to(self, device: torch.device) -> SharedColumns:
        """The same on a device."""
        return replace(self, rows=self.rows.to(device), of_row=self.of_row.to(device))


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a batch.

    Attributes:
        shared: those that sequences share; those after are each sequence's own.
        width: the number of columns.
        columns: of each sequence the columns of its tokens.
    """

    shared: tuple[SharedColumns, ...]
    width: int
    columns: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens that are run, padding too."""
        at = self.shared[-1].end if self.shared else 0
        groups = sum(len(part.rows) * (part.end - part.begin) for part in self.shared)
        return groups + len(self.columns) * (self.width - at)


def lay_out(ids: Sequence[tuple[int, ...]], *starts: Sequence[int]) -> Layout:
    """A layout of token sequences, which have their last tokens in the last column.

    Args:
        ids: the sequences.
        starts: the ends of what may be shared, as indices into each sequence, in rising order.
    """
    edges = [[0] * len(ids), *map(list, starts), [len(tokens) for tokens in ids]]
    columns: list[list[int]] = [[] for _ in ids]
    shared: list[SharedColumns] = []
    begin = end = 0
    for lower, upper in pairwise(edges):
        begin, end = end, end + max(b - a for a, b in zip(lower, upper, strict=True))
        for place, (a, b) in enumerate(zip(lower, upper, strict=True)):
            columns[place] += range(end - (b - a), end)
        if len(shared) < len(starts) and end > begin:
            beginnings = [tokens[:b] for tokens, b in zip(ids, upper, strict=True)]
            groups = list(dict.fromkeys(beginnings))
            rows, of_row = map(beginnings.index, groups), map(groups.index, beginnings)
            part = SharedColumns(begin, end, torch.tensor([*rows]), torch.tensor([*of_row]))
            shared.append(part)
    return Layout(tuple(shared), end, columns)
