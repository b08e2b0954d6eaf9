"""The natural vector: one direction read off what a LoRA adds (paper, section 4.3), and its pairs.

d_t is what a one-layer LoRA adds at its block's output, at the last tokens of one training prompt
and of one unrelated passage. Three directions, each scaled by s = mean_t d_t . u and then added at
every token:

- "mean": m = mean_t d_t itself.
- "first direction": u = the first right singular vector of the uncentred d, signed so that s > 0.
  (Centring first, as in a principal component analysis, takes away the very mean that is sought,
  and leaves the sign to chance.)
- "unit mean": u = mean_t d_t / |d_t|, made a unit: each token counts alike.

The paper's picture of constancy is the |cos| of all pairs of those d_t (780 for 40 tokens); the
signed cosine stands beside it here, since |cos| cannot tell a vector from a sign-flipping axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.errors import InputError
from oocr.explain.differences import Texts
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector

TOKENS = 20
"""Last tokens of each text, as in the paper: the first ones carry spikes of the norm."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs of a set of differences.

    Attributes:
        n: pairs.
        absolute: mean |cos|, the paper's measure.
        signed: mean cos.
        values: each pair's signed cosine.
    """

    n: int
    absolute: float
    signed: float
    values: tuple[float, ...]


def natural_vectors(
    adapter: Adapter, trained: Texts, unrelated: Texts, tokens: int = TOKENS
) -> dict[str, Vector]:
    """The three directions of a one-layer LoRA, to be added at every token.

    Args:
        adapter: the LoRA.
        trained: training prompts; the first is read.
        unrelated: unrelated passages; the first is read.
        tokens: how many last tokens of each.
    """
    d = last_differences(adapter, trained, unrelated, tokens)
    mean = d.mean(dim=0)
    first = torch.linalg.svd(d, full_matrices=False).Vh[0]
    units = d / d.norm(dim=1, keepdim=True).clamp_min(1e-300)
    about = {**adapter.about, "from": f"natural vector of a LoRA, {len(d)} tokens"}

    def scaled(u: Tensor) -> Tensor:
        u = u / u.norm().clamp_min(1e-300)
        return (d @ u).mean() * u  # whichever sign u has, the projection's undoes it

    found = {"mean": mean, "first direction": scaled(first), "unit mean": scaled(units.mean(dim=0))}
    return {
        name: Vector(
            adapter.layers[-1], "all", v.float(), spans=adapter.spans, about={**about, "how": name}
        )
        for name, v in found.items()
    }


def last_differences(
    adapter: Adapter, trained: Texts, unrelated: Texts, tokens: int = TOKENS
) -> Float[Tensor, "token d_model"]:
    """d_t at the last tokens of the first text of each, in fp64.

    Raises:
        InputError: no token is asked for.
    """
    if tokens < 1:
        raise InputError(f"tokens: found {tokens}; allowed: 1 or more")
    some = [texts.differences(adapter)[0][1:][-tokens:] for texts in (trained, unrelated)]
    return torch.cat(some).double()


def pairs_of(differences: Float[Tensor, "token d_model"]) -> Pairs:
    """Cosines of all pairs of tokens.

    Raises:
        InputError: fewer than two tokens.
    """
    if len(differences) < 2:
        raise InputError(f"differences: found {len(differences)} tokens; allowed: 2 or more")
    d = differences.double()
    units = d / d.norm(dim=1, keepdim=True).clamp_min(1e-300)
    rows, columns = torch.triu_indices(len(d), len(d), offset=1)
    cosines = (units @ units.T)[rows, columns]
    return Pairs(
        n=len(cosines),
        absolute=float(cosines.abs().mean()),
        signed=float(cosines.mean()),
        values=tuple(cosines.tolist()),
    )
