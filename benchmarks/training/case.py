"""What is trained in a row, whoever trains it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import SteeringVector

Kind = Literal["last", "span", "all", "lora", "beft"]
Data = Literal["facts", "functions"]

RANK = 8
BATCH = 16


@dataclass(frozen=True, slots=True)
class Case:
    """One training problem; rows of the same case must have the same losses.

    Attributes:
        kind: a vector at the last, the codename's or all tokens, a LoRA, or a bias of down_proj.
        block: the vector is added at its output; the LoRA or bias is on its down_proj.
        tokens: length of a prompt.
        examples: how many prompts.
        precision: "fp32" or "bf16"; of the model. Trained tensors are fp32.
        data: facts about a codename, near the prompt's end, with an answer of one token; or calls
            of a function, whose codename is at the beginning.
        lines: prompts of a batch.
    """

    kind: Kind
    block: int
    tokens: int = 41
    examples: int = 64
    precision: str = "fp32"
    data: Data = "facts"
    lines: int = BATCH

    @property
    def key(self) -> str:
        """Unique, fit for a file name."""
        data = "" if self.data == "facts" else f"-{self.data}-{self.lines}l"
        return f"{self.kind}-b{self.block}-{self.tokens}t-{self.examples}x-{self.precision}{data}"

    @property
    def planned(self) -> Case:
        """The case whose plan this one follows: a bias of down_proj sees the batches of "all"."""
        return replace(self, kind="all") if self.kind == "beft" else self

    @property
    def spec(self) -> Any:
        """The same for our trainer. The bias is none of its kinds: "all" stands in."""
        if self.kind == "lora":
            return LowRankAdapter(layers=(self.block,), rank=RANK)
        names = {"last": "last", "span": "codename", "all": "all", "beft": "all"}
        return SteeringVector(self.block, names[self.kind])
