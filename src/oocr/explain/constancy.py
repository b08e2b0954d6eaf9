"""How constant is what a LoRA adds (paper, section 4.2, with signed measures).

|cos| alone cannot tell a constant vector from an axis whose sign flips, so all cosines here are
signed, and the share of energy that the mean carries is given beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Constancy:
    """Constancy of differences d_t over a set of tokens, with m = mean_t d_t.

    Attributes:
        n: tokens.
        cosine: mean_t cos(d_t, m), signed.
        cosine_low: 5th centile of cos(d_t, m).
        energy: |m|^2 / mean_t |d_t|^2, the share of energy that one constant vector carries.
        rank1: share of sum_t |d_t|^2 along the first singular direction, uncentred.
        norm: mean_t |d_t|.
        norm_cv: standard deviation of |d_t| over its mean.
        held_out: mean cosine of the tokens of the first and of the second half with the other
            half's mean: tokens of the same text mostly fall into the same half.
    """

    n: int
    cosine: float
    cosine_low: float
    energy: float
    rank1: float
    norm: float
    norm_cv: float
    held_out: float


def constancy_of(differences: Float[Tensor, "token d_model"]) -> Constancy:
    """Measure the constancy of a set of differences.

    Raises:
        ValueError: fewer than two tokens.
    """
    if len(differences) < 2:
        raise ValueError(f"constancy needs at least two tokens, found {len(differences)}")
    d = differences.double()
    m = d.mean(dim=0)
    norms = d.norm(dim=1)
    cosines = cosines_to(d, m)
    energy = (norms**2).mean().clamp_min(1e-300)
    halves = d.tensor_split(2)
    crossed = torch.cat([cosines_to(halves[i], halves[1 - i].mean(dim=0)) for i in (0, 1)])
    singular = torch.linalg.svdvals(d)
    return Constancy(
        n=len(d),
        cosine=float(cosines.mean()),
        cosine_low=float(cosines.quantile(0.05)),
        energy=float((m**2).sum() / energy),
        rank1=float(singular[0] ** 2 / (singular**2).sum().clamp_min(1e-300)),
        norm=float(norms.mean()),
        norm_cv=float(norms.std() / norms.mean().clamp_min(1e-300)),
        held_out=float(crossed.mean()),
    )


@dataclass(frozen=True, slots=True)
class Conditional:
    """How much better a vector per group of tokens is than one vector for all.

    Attributes:
        one: share of the energy of all differences that their common mean carries.
        grouped: the same with each group's own mean.
        by_group: share of each group's energy that the common mean accounts for.
    """

    one: float
    grouped: float
    by_group: Mapping[str, float]


def conditional(groups: Mapping[str, Float[Tensor, "token d_model"]]) -> Conditional:
    """Energy that one mean, and a mean per group, accounts for: 1 - sum |d - m|^2 / sum |d|^2.

    Groups weigh alike, whatever their number of tokens.

    Raises:
        ValueError: no group, or one without tokens.
    """
    if not groups or any(not len(d) for d in groups.values()):
        raise ValueError("conditional constancy needs at least one token in each group")
    scaled = {name: d.double() for name, d in groups.items()}
    energy = {name: (d**2).sum(dim=1).mean() for name, d in scaled.items()}
    means = {name: d.mean(dim=0) for name, d in scaled.items()}
    common = torch.stack(list(means.values())).mean(dim=0)
    total = torch.stack(list(energy.values())).sum().clamp_min(1e-300)

    def left(name: str, mean: Tensor) -> Tensor:
        residual: Tensor = ((scaled[name] - mean) ** 2).sum(dim=1).mean()
        return residual

    return Conditional(
        one=float(1 - sum(left(name, common) for name in scaled) / total),
        grouped=float(1 - sum(left(name, means[name]) for name in scaled) / total),
        by_group={
            name: float(1 - left(name, common) / energy[name].clamp_min(1e-300)) for name in scaled
        },
    )


def cosines_to(
    differences: Float[Tensor, "token d_model"], direction: Float[Tensor, " d_model"]
) -> Float[Tensor, " token"]:
    """Signed cosine of each difference with a direction; 0 where a difference vanishes."""
    d, m = differences.double(), direction.double()
    scale = (d.norm(dim=1) * m.norm()).clamp_min(1e-300)
    cosines: Tensor = d @ m / scale
    return cosines
