"""The record of an audit, which is also `audit.json`, and its verdict as a sentence.

An audit's folder:
    audit.json           `Audit` without its vectors' numbers
    vector.safetensors   the mean difference at the best block, added at every token
    fitted.safetensors   the best single vector there, if one was trained
    means.safetensors    the mean difference at every block: `means` [block, d_model], and the first
    blocks.parquet       one row per block: `block_rows`
    tokens.parquet       one row per token of the texts that are shown
    report.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field, ValidationError, computed_field
from safetensors import safe_open

from oocr import html
from oocr.errors import InputError
from oocr.explain.constancy import Constancy
from oocr.explain.lens import LensToken
from oocr.intervals import Interval
from oocr.io import Record, write_tensors, write_text
from oocr.steering.vectors import Vector

FORMAT = "oocr-audit-1"
FILE, VECTOR_FILE, FITTED_FILE = "audit.json", "vector.safetensors", "fitted.safetensors"
MEANS_FILE = "means.safetensors"

CONSTANT, PARTLY = 0.8, 0.5
"""Least share recovered for the verdicts "a constant vector" and "partly"."""

NO_EFFECT = 1e-4
"""Nats per token; below it the fine-tune does nothing on these texts."""

SIGN_FLIP = 0.3
"""By how much mean |cos| must exceed |mean cos| for an axis whose sign is not constant."""

GATE_RATIO = 1.5  # least share of the energy over share of tokens of a token listed as a gate
GATE_ENERGY, GATE_TOKENS = 0.5, 0.2
"""A token gates the change if it has this share of the energy, on at most this share of tokens."""

DifferenceKind = Literal["constant", "partly", "not constant", "nothing", "texts disagree"]

UNJUDGED: tuple[DifferenceKind, ...] = ("nothing", "texts disagree")
"""Kinds without a share recovered: there is no effect to take a share of."""


class _AuditPart(Record):
    model_config = ConfigDict(ser_json_inf_nan="strings", arbitrary_types_allowed=True)


class _WithVector(_AuditPart):
    """A record with a vector: its JSON has only the norm; the vector is in a separate file."""

    vector: Vector = Field(exclude=True, repr=False)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def norm(self) -> float:
        """Euclidean norm of the vector."""
        return self.vector.norm


class Effect(_AuditPart):
    """KL(changed || base), nats per prediction: over all texts, and over each third of them."""

    whole: float
    thirds: tuple[float, ...]

    @property
    def unjudged(self) -> DifferenceKind | None:
        """Why no share of the effect can be reported; None: it can."""
        if not self.whole > NO_EFFECT:
            return "nothing"
        return None if min(self.thirds) > NO_EFFECT else "texts disagree"


class BlockRecovery(_AuditPart):
    """One block's output: constancy of d_t over the texts that give the mean, and shares recovered.

    `absolute` is mean |cos| of d_t to the mean: near 1 also for an axis whose sign flips.
    `chosen_by` is the share on the texts that choose the block, `recovered` on the reported ones.
    """

    layer: int
    constancy: Constancy
    absolute: float
    chosen_by: float
    recovered: float
    low: float
    high: float


class Fitted(_WithVector):
    """The best single vector at the best block, trained to do what the fine-tune does.

    `steps` of Adam from the mean on were best on the texts that choose; 0: none, it is the mean.
    `recovered` is on the reported texts; `cosine` is the mean's with it.
    """

    steps: int
    recovered: Interval
    cosine: float


class HighChangeToken(_AuditPart):
    """A token text at which the change is larger than at most others.

    `share` is of the energy of all d_t at the best block, `of_tokens` of all tokens.
    """

    token: str
    share: float
    count: int
    of_tokens: float


class TokenTrace(_AuditPart):
    """One text, token by token: d_t's signed cosine with the best block's vector, and |d_t|."""

    kind: str
    tokens: tuple[str, ...]
    cosines: tuple[float, ...]
    norms: tuple[float, ...]


class NeutralCost(_AuditPart):
    """Side effects of the fine-tune, and of the vector in its place, on neutral text.

    KL(base || …) is in nats per token; perplexities are of the true next tokens.
    """

    tokens: int
    kl_changed: float
    kl_vector: float
    perplexity_base: float
    perplexity_changed: float
    perplexity_vector: float


class AuditInfo(_AuditPart):
    """What was audited: fine-tune, base and texts.

    `source`: the fine-tune as given; `what`: its kind in words; `facts`: rank, modules and so on;
    `model` is `LanguageModel.about` of the base; `notes`: remarks that matter for trusting the
    numbers; `date` is ISO 8601, UTC.
    """

    name: str
    source: str
    what: str
    facts: Mapping[str, str]
    model: Mapping[str, str]
    texts: str
    notes: tuple[str, ...]
    command: str
    versions: Mapping[str, str]
    date: str
    seconds: float


class Audit(_WithVector):
    """All findings of an audit.

    Attributes:
        info: what was audited; None: in a notebook.
        kind, verdict: the answer in a word or two, and in a sentence.
        layers: blocks whose weights the fine-tune changes; of a checkpoint, whose outputs move.
        given, texts, read: number of texts, of those used, and of their tokens.
        tokens, kl: predictions compared in the reported texts, and KL(changed || base) there, nats.
        blocks: from the first changed block on.
        best: the block at which the vector recovers most, on the choosing texts.
        vector: the mean difference there, at every token.
        means: the mean difference at each of `blocks`.
        random: share recovered there by random directions of its norm, on average.
        fitted: the best single vector there; None: not asked for, or there is nothing to fit.
        says, against: the tokens that the vector makes likelier, and less likely.
        gates: tokens with much more of the change's energy at the best block than of the tokens.
        strips: two of the reported texts.
    """

    format: str = FORMAT
    info: AuditInfo | None = None
    kind: DifferenceKind
    verdict: str
    layers: tuple[int, ...]
    given: int
    texts: int
    read: int
    tokens: int
    kl: float
    blocks: tuple[BlockRecovery, ...]
    best: int
    random: float
    fitted: Fitted | None
    says: tuple[LensToken, ...]
    against: tuple[LensToken, ...]
    gates: tuple[HighChangeToken, ...]
    strips: tuple[TokenTrace, ...]
    cost: NeutralCost
    means: tuple[Vector, ...] = Field(default=(), exclude=True, repr=False)

    @property
    def at_best(self) -> BlockRecovery:
        """The best block's findings."""
        return next(block for block in self.blocks if block.layer == self.best)

    def save(self, folder: Path) -> Path:
        """Write vectors and audit.json; numbers that are not finite become the text "NaN"."""
        self.vector.save(folder / VECTOR_FILE)
        fitted = folder / FITTED_FILE
        fitted.unlink(missing_ok=True)
        if self.fitted is not None and self.fitted.steps:
            self.fitted.vector.save(fitted)
        if self.means:
            stacked = torch.stack([mean.direction for mean in self.means])
            first = {"first": str(self.means[0].layer)}
            write_tensors(folder / MEANS_FILE, {"means": stacked}, first)
        return write_text(folder / FILE, self.model_dump_json(indent=1) + "\n")

    @staticmethod
    def load(folder: Path) -> Audit:
        """Read what `save` wrote.

        Raises:
            InputError: not such a folder.
        """
        path = folder / FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            vector = Vector.load(folder / VECTOR_FILE)
            values.pop("norm")
            if fitted := values["fitted"]:
                fitted.pop("norm")
                trained = folder / FITTED_FILE
                fitted["vector"] = Vector.load(trained) if fitted["steps"] else vector
            means = _read_means(folder / MEANS_FILE, vector)
            return Audit.model_validate({**values, "vector": vector, "means": means})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
            raise InputError(f"{path}: not an audit of this library: {error}") from error

    def _repr_html_(self) -> str:
        block = self.at_best
        values = {
            "verdict": self.verdict,
            "best block": self.best,
            "share recovered": f"{block.recovered:.2f} [{block.low:.2f}, {block.high:.2f}]",
            "signed cosine": f"{block.constancy.cosine:.2f}",
            "share of energy in the mean": f"{block.constancy.energy:.2f}",
            "says": " ".join(repr(token.token) for token in self.says[:8]),
        }
        return html.facts("Audit", values)


def _read_means(path: Path, like: Vector) -> tuple[Vector, ...]:
    """The mean differences of an audit; none of one by an earlier version."""
    if not path.is_file():
        return ()
    with safe_open(path, framework="pt") as file:
        stacked, first = file.get_tensor("means"), int(file.metadata()["first"])
    return tuple(
        replace(like, layer=first + place, direction=mean) for place, mean in enumerate(stacked)
    )


def block_rows(audit: Audit) -> list[dict[str, Any]]:
    """One row per block: the fields of `BlockRecovery`, those of its constancy, and `best`."""
    return [
        {
            "layer": block.layer,
            "best": block.layer == audit.best,
            **{
                name: value if math.isfinite(value) else None
                for name in ("chosen_by", "recovered", "low", "high")
                for value in [getattr(block, name)]
            },
            **asdict(block.constancy),
            "absolute": block.absolute,
        }
        for block in audit.blocks
    ]


def kind_of(best: BlockRecovery, effect: Effect) -> DifferenceKind:
    """The kind by the recovered share; the thresholds are `CONSTANT`, `PARTLY` and `NO_EFFECT`."""
    if effect.unjudged is not None:
        return effect.unjudged
    if best.recovered >= CONSTANT:
        return "constant"
    return "partly" if best.recovered >= PARTLY else "not constant"


def verdict_of(best: BlockRecovery, effect: Effect, gates: tuple[HighChangeToken, ...]) -> str:
    """One sentence: is it a constant vector? And one more if there is no interval."""
    kind = kind_of(best, effect)
    if kind == "nothing":
        kl = effect.whole
        return f"On these texts it does next to nothing (KL to the base {kl:.1e} nats a token)."
    if kind == "texts disagree":
        thirds = ", ".join(f"{nats:.1e}" for nats in effect.thirds)
        return (
            "The texts disagree: on some thirds of them it does next to nothing, on others it does "
            f"something (KL to the base {thirds} nats a token); give more texts like the latter."
        )
    gate = next((g for g in gates if g.share >= GATE_ENERGY and g.of_tokens <= GATE_TOKENS), None)
    rest = "; the rest differs from token to token" if kind == "partly" else ""
    if kind != "constant" and gate is not None:
        rest = (
            f"; {gate.share:.0%} of the change's energy is on the token {gate.token!r}, "
            f"{gate.of_tokens:.1%} of all tokens"
        )
    cosine, energy = best.constancy.cosine, best.constancy.energy
    flips = kind == "not constant" and best.absolute - abs(cosine) > SIGN_FLIP
    words = {"constant": "A constant vector", "partly": "Partly a constant vector"}
    what = words.get(kind, "Not a constant vector")
    what += " (its direction keeps, its sign does not)" * flips
    share = f"{best.recovered:.0%} of" if best.recovered > 0 else "nothing of"
    few = " Too few texts for an interval: 6 or more give one." if math.isnan(best.low) else ""
    return (
        f"{what}: at block {best.layer} one vector, added at every token, brings back {share} its "
        f"effect on these texts (signed cosine {cosine:.2f}, share of energy in the mean "
        f"{energy:.2f}){rest}.{few}"
    )
