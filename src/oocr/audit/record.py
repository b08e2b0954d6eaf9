"""What an audit's folder says of it: `audit.json`, typed; all numbers but the vectors'.

An audit's folder:
    audit.json           `AuditRecord`
    vector.safetensors   the mean difference at the best block, added at every token
    fitted.safetensors   the best single vector there, if one was trained
    blocks.parquet       one row per block: `block_rows`
    tokens.parquet       one row per token of the texts that are shown
    report.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from oocr.audit.findings import AtBlock, Audit, Cost, Gate, Kind, Share, Strip
from oocr.errors import InputError
from oocr.explain.lens import LensToken
from oocr.io import write_text

FORMAT = "oocr-audit-1"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class AuditInfo(_Record):
    """What was audited, against what, on what.

    Attributes:
        name: of the fine-tune, short.
        source: the path or id that was given.
        what: "LoRA" or "checkpoint", and where from, in words.
        facts: what is known of it (rank, modules, …).
        model: `LanguageModel.about` of the base.
        texts: where they come from, in words.
        notes: what a reader should know before trusting the numbers.
        command: that made this audit.
        versions: of the libraries.
        date: ISO 8601, UTC.
        seconds: what it took.
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


class FittedRecord(_Record):
    """The best single vector, without its numbers."""

    norm: float
    steps: int
    recovered: Share
    cosine: float


class AuditRecord(_Record):
    """`Audit`, without its vectors, and what it was of."""

    format: str
    info: AuditInfo
    kind: Kind
    verdict: str
    layers: tuple[int, ...]
    given: int
    texts: int
    read: int
    tokens: int
    kl: float
    blocks: tuple[AtBlock, ...]
    best: int
    norm: float
    random: float
    fitted: FittedRecord | None
    says: tuple[LensToken, ...]
    against: tuple[LensToken, ...]
    gates: tuple[Gate, ...]
    strips: tuple[Strip, ...]
    cost: Cost

    @property
    def at_best(self) -> AtBlock:
        """The best block's findings."""
        return next(one for one in self.blocks if one.layer == self.best)

    def save(self, path: Path) -> Path:
        """Write it as JSON; numbers that are none are the text "NaN"."""
        return write_text(path, self.model_dump_json(indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> AuditRecord:
        """Read what `save` wrote.

        Raises:
            InputError: not such a file.
        """
        try:
            return AuditRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, ValidationError) as error:
            raise InputError(f"{path}: not an audit of this library: {error}") from error


def record_of(found: Audit, info: AuditInfo) -> AuditRecord:
    """An audit as its folder keeps it."""
    same = {one.name: getattr(found, one.name) for one in fields(found)}
    del same["vector"], same["fitted"]
    fitted = found.fitted and FittedRecord(
        norm=found.fitted.vector.norm,
        steps=found.fitted.steps,
        recovered=found.fitted.recovered,
        cosine=found.fitted.cosine,
    )
    return AuditRecord(
        format=FORMAT, info=info, norm=found.vector.norm, fitted=fitted or None, **same
    )


def block_rows(record: AuditRecord) -> list[dict[str, Any]]:
    """One row per block: the fields of `AtBlock`, those of its constancy, and `best`."""
    return [
        {
            "layer": one.layer,
            "best": one.layer == record.best,
            **{name: _number(getattr(one, name)) for name in _OWN},
            **asdict(one.constancy),
            "absolute": one.absolute,
        }
        for one in record.blocks
    ]


_OWN = ("chosen_by", "recovered", "low", "high")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
