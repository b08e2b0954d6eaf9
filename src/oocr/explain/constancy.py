"""How constant is what a LoRA adds (paper, section 4.2, with signed measures).

|cos| alone cannot tell a constant vector from an axis whose sign flips, so all cosines here are
signed, and the share of energy that the mean carries is given beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields

import torch
from jaxtyping import Float
from torch import Tensor

from oocr import html
from oocr.errors import InputError
from oocr.explain.differences import Texts, joined
from oocr.explain.lora_vectors import default_positions
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Constancy:
    """Constancy of differences d_t over a set of `n` tokens, with m = mean_t d_t.

    Attributes:
        cosine, cosine_low: mean and 5th centile of cos(d_t, m), signed.
        energy: |m|^2 / mean_t |d_t|^2, the share of energy that one constant vector carries.
        rank1: share of sum_t |d_t|^2 along the first singular direction, uncentred.
        norm, norm_cv: mean_t |d_t|, and the standard deviation of |d_t| over it.
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
    """Measure the constancy of a set of differences; ValueError: fewer than two tokens."""
    if len(differences) < 2:
        raise ValueError(f"constancy needs at least two tokens, found {len(differences)}")
    d = differences.cpu().double()  # MPS has no float64
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
    """How much energy one vector per group of tokens explains, compared with one vector for all.

    `common`: share of the energy of all differences that their common mean carries; `grouped`: the
    same with each group's own mean; `by_group`: share of each group's energy that the common mean
    carries.
    """

    common: float
    grouped: float
    by_group: Mapping[str, float]


def conditional(groups: Mapping[str, Float[Tensor, "token d_model"]]) -> Conditional:
    """Energy that one mean, and a mean per group, accounts for: 1 - sum |d - m|^2 / sum |d|^2.

    Every group has the same weight, whatever its number of tokens.

    ValueError: no group, or one without tokens.
    """
    if not groups or any(not len(d) for d in groups.values()):
        raise ValueError("conditional constancy needs at least one token in each group")
    scaled = {name: d.cpu().double() for name, d in groups.items()}
    energy = {name: (d**2).sum(dim=1).mean() for name, d in scaled.items()}
    means = {name: d.mean(dim=0) for name, d in scaled.items()}
    common = torch.stack(list(means.values())).mean(dim=0)
    total = torch.stack(list(energy.values())).sum().clamp_min(1e-300)
    lost, lost_grouped = (
        {name: ((d - of_group[name]) ** 2).sum(dim=1).mean() for name, d in scaled.items()}
        for of_group in (dict.fromkeys(scaled, common), means)
    )
    by_group = {name: float(1 - lost[name] / energy[name].clamp_min(1e-300)) for name in scaled}
    common_share, grouped = (float(1 - sum(p.values()) / total) for p in (lost, lost_grouped))
    return Conditional(common_share, grouped, by_group)


@dataclass(frozen=True, slots=True, eq=False)
class TaskTexts:
    """The texts on which the LoRAs of one task and block are read, recorded once.

    Distinct prompts of the training rows; those of the probes that no training row has; and all
    neutral passages (a handful of prompts can look constant by having the same words).
    """

    training: Texts
    probes: Texts
    unrelated: Texts

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        task: Task,
        layers: tuple[int, ...],
        unrelated: Texts | None = None,
    ) -> TaskTexts:
        """Record a task's texts at a LoRA's blocks; `unrelated`: unrelated text recorded before."""
        training = Texts.of(model, task.train, layers)
        probes = Texts.of(model, task.probes, layers, other_than=task.train)
        return cls(training, probes, unrelated or Texts.unrelated(model, layers))

    def groups(self, adapter: Adapter, positions: str) -> dict[str, Float[Tensor, "token d_model"]]:
        """d_t by token group: "span" (the tokens at the positions) and two others.

        InputError: positions that no prompt has.
        """
        inside: list[Tensor] = []
        outside: list[Tensor] = []
        for texts in (self.training, self.probes):
            for index, d in enumerate(texts.differences(adapter)):
                chosen = texts.at(index, positions)
                inside.append(d[chosen])
                outside.append(d[~chosen & texts.after_start(index)])
        groups = {
            "span": torch.cat(inside),
            "other prompt tokens": torch.cat(outside),
            "unrelated text": joined([self.unrelated], adapter),
        }
        if not len(groups["span"]):
            raise InputError(f"positions {positions!r} select no token of the prompts")
        return groups


@dataclass(frozen=True, slots=True, eq=False)
class GroupConstancy(Mapping[str, Constancy]):
    """Constancy of one LoRA by token group.

    A mapping from "span" (the tokens at the positions), "other prompt tokens" and "unrelated text"
    to their `Constancy`; a group of fewer than two tokens has none. `to_span`: signed cosine of
    each group's mean with the mean at the span (`span_mean`).
    """

    groups: Mapping[str, Constancy]
    to_span: Mapping[str, float]
    shares: Conditional
    span_mean: Float[Tensor, " d_model"] = field(repr=False)

    def __getitem__(self, group: str) -> Constancy:
        return self.groups[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        columns = ["tokens", *[measure.name for measure in fields(Constancy)], "to_span"]
        rows = [
            [name, *[f"{value:.3g}" for value in (*astuple(group), self.to_span[name])]]
            for name, group in self.groups.items()
        ]
        return columns, rows

    def __str__(self) -> str:
        columns, rows = self._rows()
        return "\n".join(
            first.ljust(20) + "".join(cell.rjust(11) for cell in rest)
            for first, *rest in (columns, *rows)
        )

    def _repr_html_(self) -> str:
        return html.table(*self._rows(), "Constancy of what the LoRA adds")


def constancy(
    model: LanguageModel, adapter: Adapter, task: Task, positions: str | None = None
) -> GroupConstancy:
    """How constant is what a one-layer LoRA adds, at its block's output, by token group?

    The first group is the tokens of the task's prompts at `positions` (`default_positions`).

    InputError: positions that no prompt has.
    """
    texts = TaskTexts.of(model, task, adapter.layers)
    return constancy_by_group(texts, adapter, positions or default_positions(task))


def constancy_by_group(texts: TaskTexts, adapter: Adapter, positions: str) -> GroupConstancy:
    """`constancy` on recorded texts."""
    groups = texts.groups(adapter, positions)
    span = groups["span"].double().mean(dim=0)
    measured = {name: d for name, d in groups.items() if len(d) > 1}
    means = {name: d.double().mean(dim=0)[None] for name, d in measured.items()}
    return GroupConstancy(
        groups={name: constancy_of(d) for name, d in measured.items()},
        to_span={name: float(cosines_to(mean, span)) for name, mean in means.items()},
        shares=conditional({name: d for name, d in groups.items() if len(d)}),
        span_mean=span,
    )


def cosines_to(
    differences: Float[Tensor, "token d_model"], direction: Float[Tensor, " d_model"]
) -> Float[Tensor, " token"]:
    """Signed cosine of each difference with a direction; 0 where a difference vanishes."""
    d, m = differences.cpu().double(), direction.cpu().double()
    scale = (d.norm(dim=1) * m.norm()).clamp_min(1e-300)
    cosines: Tensor = d @ m / scale
    return cosines
