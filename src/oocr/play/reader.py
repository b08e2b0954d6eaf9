"""What is read while a text is generated: projections on a direction, the prompt's rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import hidden_of, hooked
from oocr.steering.vectors import Vector

LOOKED_BACK = 160
"""Last tokens of a prompt whose next tokens are shown."""

AT_ONCE = 16
"""Rows in one product with the head."""


class Reader:
    """Reads the residual stream in each forward call, after whatever is attached before it.

    At a direction's block its projection h · v / |v| and cosine (block -1: at the input of block
    0); at the last block the rows that logits are made from, of the first call only.
    """

    def __init__(self, model: LanguageModel, vector: Vector | None) -> None:
        self.model, self.vector = model, vector
        self.active = vector is not None and vector.norm > 0
        self._values: list[tuple[float, float]] = []
        self._rows: Tensor | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read the calls inside."""
        blocks = self.model.anatomy.blocks
        handles = [blocks[-1].register_forward_hook(self._keep)]
        if self.active and self.vector is not None:
            if self.vector.layer < 0:
                before = blocks[0].register_forward_pre_hook(self._before, with_kwargs=True)
                handles.append(before)
            else:
                handles.append(blocks[self.vector.layer].register_forward_hook(self._after))
        with hooked(*handles):
            yield

    def take(self, count: int) -> list[tuple[float, float]]:
        """Projection and cosine at the last `count` tokens of the last call."""
        return self._values[-count:]

    @torch.no_grad()
    def prompt_rows(self, size: int) -> Iterator[tuple[int, Float[Tensor, "row vocab"]]]:
        """Logits after the prompt's tokens but the last, a few at a time, with the first's index.

        Nothing where the last block ran some tokens only.
        """
        rows = self._rows
        if rows is None or len(rows) != size:
            return
        for start in range(max(0, size - 1 - LOOKED_BACK), size - 1, AT_ONCE):
            yield start, self.model.anatomy.readout(rows[start : min(start + AT_ONCE, size - 1)])

    def _keep(self, _module: object, _args: object, output: Any) -> None:
        if self._rows is None:
            self._rows = hidden_of(output)[0].detach()

    def _after(self, _module: object, _args: object, output: Any) -> None:
        self._read(hidden_of(output))

    def _before(self, _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._read(args[0] if args else kwargs["hidden_states"])

    def _read(self, hidden: Tensor) -> None:
        assert self.vector is not None
        rows = hidden[0].float()
        projections = rows @ (self.vector.direction / self.vector.norm).to(rows.device)
        cosines = projections / rows.norm(dim=-1).clamp(min=1e-12)
        self._values = list(zip(projections.tolist(), cosines.tolist(), strict=True))
