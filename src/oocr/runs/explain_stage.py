"""What each trained LoRA adds, whether a vector can take its place, and what else it does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from oocr.engine.forward import start_block
from oocr.explain.constancy import constancy_of, cosines_to
from oocr.explain.differences import Texts
from oocr.explain.neutral import neutral_passages, neutral_places
from oocr.explain.side_effects import NeutralText
from oocr.explain.swap import SKIP, mean_vectors, where
from oocr.io import keep, key_of
from oocr.runs.arms import load_intervention
from oocr.runs.context import RunContext
from oocr.runs.records import ArmRecord, ConstancyRow, SideEffect, TokenRow
from oocr.steering.adapters import Adapter
from oocr.tasks.task import Task

SHOWN_TEXTS = 3
"""Texts of each kind whose tokens are shown in the report."""

NEUTRAL_PASSAGES = 4
"""Passages on which side effects are measured (constancy uses all)."""


@dataclass(frozen=True)
class ExplainContext:
    """Texts recorded once for all LoRAs of one layer."""

    lab: RunContext
    layer: int
    start: int
    positions: str
    neutral_tokens: int

    @cached_property
    def unrelated(self) -> Texts:
        """Unrelated text."""
        passages = neutral_passages(self.lab.model)
        return Texts(self.lab.model, passages, [{} for _ in passages], (self.start, self.layer))

    @cached_property
    def neutral(self) -> NeutralText:
        """The same text with the base model's predictions."""
        starts = {self.start, self.layer + 1}
        passages, places = neutral_places(self.lab.model, NEUTRAL_PASSAGES)
        return NeutralText(self.lab.model, passages, starts, self.neutral_tokens, places=places)

    @cached_property
    def key(self) -> str:
        """What an explanation depends on, beside its arm."""
        places = neutral_places(self.lab.model, NEUTRAL_PASSAGES)[1]
        at = "" if places is None else "-answers"
        return f"{self.positions}-{self.neutral_tokens}{at}"

    def prompts(self, task: Task) -> tuple[Texts, Texts]:
        """The task's distinct training prompts and probe prompts."""
        out = []
        for items in (task.train, task.probes):
            distinct = {item.prompt: dict(item.spans) for item in items}
            out.append(
                Texts(
                    self.lab.model,
                    list(distinct),
                    list(distinct.values()),
                    (self.start, self.layer),
                )
            )
        return out[0], out[1]


def explain_arm(
    bench: ExplainContext,
    task: Task,
    arm: ArmRecord,
    adapter: Adapter,
    texts: tuple[Texts, Texts],
    folder: Path,
) -> None:
    """Write `<arm>-explained/`: constancy, tokens, swaps with their rows, side effects."""
    keep(
        folder / f"{arm.id}-explained",
        key_of(arm.key, bench.key),
        partial(_explain, bench, task, arm, adapter, texts),
    )


def _explain(
    bench: ExplainContext,
    task: Task,
    arm: ArmRecord,
    adapter: Adapter,
    texts: tuple[Texts, Texts],
    folder: Path,
) -> None:
    training, probes = texts
    span, everywhere = mean_vectors(adapter, training, bench.unrelated, bench.positions)
    constancy, tokens = _constancy(bench, arm, adapter, training, probes, "adapter")
    if arm.seed == 0:
        constancy += _constancy(
            bench, arm, random_like(adapter, arm.seed), training, probes, "random adapter"
        )[0]
    frames = []
    for name, vector in (("swap at span", span), ("swap everywhere", everywhere)):
        columns: dict[str, str | int | float | None] = {
            **{"arm": name, "control": "", "member": arm.member, "seed": arm.seed},
            **{"part": None, "step": arm.stop_step, "final": True},
        }
        frames.append(bench.lab.rows(task.scored, [vector], [columns]))
    rows = pl.concat(frames, how="diagonal_relaxed")
    effects = []
    both = (("adapter", adapter), ("swap everywhere", everywhere))
    for label, one in both if arm.seed == 0 else ():  # the dearest part: for one seed a member
        damage = bench.neutral.damage(one)
        effects.append(
            SideEffect(
                arm=label,
                member=arm.member,
                seed=arm.seed,
                tokens=damage.tokens,
                kl=damage.kl,
                perplexity=damage.perplexity,
                perplexity_base=damage.perplexity_base,
            )
        )
    span.save(folder / "swap-at-span.safetensors")
    everywhere.save(folder / "swap-everywhere.safetensors")
    rows.write_parquet(folder / "rows.parquet")
    _frame(constancy).write_parquet(folder / "constancy.parquet")
    _frame(tokens).write_parquet(folder / "tokens.parquet")
    if effects:
        _frame(effects).write_parquet(folder / "side_effects.parquet")


def _frame(records: list[ConstancyRow] | list[TokenRow] | list[SideEffect]) -> pl.DataFrame:
    return pl.DataFrame([one.model_dump() for one in records], infer_schema_length=None)


def _constancy(
    bench: ExplainContext,
    arm: ArmRecord,
    adapter: Adapter,
    training: Texts,
    probes: Texts,
    kind: str,
) -> tuple[list[ConstancyRow], list[TokenRow]]:
    """Constancy by token group (in training and probe prompts, and unrelated text)."""
    layer = bench.layer
    prompts = [(t, i, d) for t in (training, probes) for i, d in enumerate(t.differences(adapter))]
    unrelated = bench.unrelated.differences(adapter)
    in_span = [d[where(t, i, bench.positions)] for t, i, d in prompts]
    others = []
    for texts, index, d in prompts:
        keep = ~where(texts, index, bench.positions)
        keep[:SKIP] = False
        others.append(d[keep])
    groups: dict[str, Tensor] = {
        "span": torch.cat(in_span),
        "other prompt tokens": torch.cat(others),
        "unrelated text": torch.cat([d[SKIP:] for d in unrelated]),
    }
    centre = groups["span"].double().mean(dim=0)
    records: list[ConstancyRow] = []
    for name, d in groups.items():
        if len(d) < 2:
            continue
        measured = constancy_of(d)
        records.append(
            ConstancyRow.model_validate(
                {
                    **{"arm": arm.id, "kind": kind, "member": arm.member, "seed": arm.seed},
                    **{"layer": layer, "tokens": name},
                    **{f: getattr(measured, f) for f in ("n", "cosine", "cosine_low", "energy")},
                    **{f: getattr(measured, f) for f in ("rank1", "norm", "norm_cv", "held_out")},
                    "to_span": float(cosines_to(d.double().mean(dim=0)[None], centre)),
                }
            )
        )
    if kind != "adapter":
        return records, []
    tokens: list[TokenRow] = []
    shown = [
        ("training prompt", training, training.differences(adapter)),
        ("probe", probes, probes.differences(adapter)),
        ("unrelated text", bench.unrelated, unrelated),
    ]
    for label, texts, differences in shown:
        for index, d in enumerate(differences[:SHOWN_TEXTS]):
            inside = texts.in_span(index)
            cosines = cosines_to(d, centre).tolist()
            for position, token in enumerate(texts.tokens(index)):
                tokens.append(
                    TokenRow.model_validate(
                        {
                            **{"arm": arm.id, "member": arm.member, "text": index, "kind": label},
                            **{"position": position, "token": token},
                            "in_span": bool(inside[position]),
                            "cosine": cosines[position],
                            "norm": float(d[position].norm()),
                        }
                    )
                )
    return records, tokens


def random_like(adapter: Adapter, seed: int) -> Adapter:
    """A LoRA of Gaussian noise, each matrix with the trained one's Frobenius norm: a control."""
    generator = torch.Generator().manual_seed(1000 + seed)
    tensors = {}
    for name, tensor in adapter.tensors.items():
        noise = torch.randn(tensor.shape, generator=generator)
        tensors[name] = noise / noise.norm() * tensor.norm()
    return Adapter(adapter.layers, adapter.config, tensors, adapter.spans, adapter.about)


def explain_job(
    lab: RunContext,
    *,
    task: Task,
    arm: ArmRecord,
    positions: str,
    neutral_tokens: int,
    folder: Path,
) -> None:
    """`explain_arm` for an arm on disk; recordings are kept for the next arm of the same kind."""
    adapter = load_intervention(folder, arm)
    assert isinstance(adapter, Adapter)
    bench = lab.kept(
        ("bench", adapter.layers, positions, neutral_tokens),
        lambda: ExplainContext(
            lab, adapter.layers[-1], start_block(adapter), positions, neutral_tokens
        ),
    )
    texts = lab.kept(("texts", task.name, adapter.layers), lambda: bench.prompts(task))
    explain_arm(bench, task, arm, adapter, texts, folder)
