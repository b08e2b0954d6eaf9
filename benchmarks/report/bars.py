"""The bars: what was asked for, what was found, whether it is met; none is met by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.report.summary import Line

Found = tuple[float, str] | None
"""A number with where it was found; None: the rows it needs are not there or void."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        name: what is measured.
        required: the number to reach.
        most: whether it must not be exceeded (else: be reached).
        unit: written after the numbers.
        found: the number at the worst place, or None.
        where: that place.
    """

    name: str
    required: float
    most: bool
    unit: str
    found: float | None
    where: str = ""

    @property
    def met(self) -> bool | None:
        """None: not measured."""
        if self.found is None:
            return None
        return self.found <= self.required if self.most else self.found >= self.required


def bars(lines: Sequence[Line]) -> list[Bar]:
    """All bars of the issue that rows can answer, each at the block where it is worst."""
    return [
        _least("last-token vector: times the plain loop, all logits", 40, lines, "last"),
        _least(
            "last-token vector: times the plain loop, last logits", 10, lines, "last", "plain-last"
        ),
        _least(
            "span vector at block 4: times the plain loop, last logits",
            4,
            [entry for entry in lines if entry.row["case"]["block"] == 4],
            "span",
            "plain-last",
        ),
        _least("one-layer LoRA: times TRL + PEFT", 4, lines, "lora", "trl"),
        _arms("16 last-token arms: cost per arm, of one alone", 1 / 3, lines, "last"),
        _arms("16 span arms: cost per arm, of one alone", 1 / 3, lines, "span"),
        _arms("16 LoRA arms: cost per arm, of one alone", 1.0, lines, "lora"),
        _sweep("18 layers x 3 seeds, last token: plain arms (all logits)", 3, lines, "last"),
        _sweep("18 layers x 3 seeds, span: plain arms (all logits)", 12, lines, "span"),
        _share("all-token step: share of the matmul peak, fp32", 0.5, lines, "fp32"),
        _share(
            "all-token step: share of the matmul peak, bf16 (asked for with AMX)",
            0.25,
            lines,
            "bf16",
        ),
    ]


def large_bars(lines: Sequence[Line]) -> list[Bar]:
    """The bars for a model of 1.5B."""
    ratios = [
        (ratio, f"{entry.row['case']['kind']}, {peer}")
        for entry in lines
        for peer, ratio in entry.ratios.items()
    ]
    return [
        _share("span step: share of the matmul peak, bf16", 0.8, lines, "bf16", "span"),
        _bar("every row: times the peer", 1, min(ratios, default=None), "x"),
        _least("last-token vector: times the plain loop, all logits", 10, lines, "last", of="bf16"),
    ]


def _bar(name: str, required: float, found: Found, unit: str, *, most: bool = False) -> Bar:
    if found is None:
        return Bar(name, required, most, unit, None)
    return Bar(name, required, most, unit, found[0], found[1])


def _ours(lines: Sequence[Line], kind: str, keep: Callable[[Line], bool]) -> list[Line]:
    return [
        entry
        for entry in lines
        if entry.ours and not entry.void and entry.row["case"]["kind"] == kind and keep(entry)
    ]


def _alone(line: Line) -> bool:
    row = line.row
    usual = row["case"]["tokens"] == 41 and row["case"]["examples"] == 64
    return usual and not row["together"] and not row["seeds"] and line.difference is not None


def _where(line: Line) -> str:
    return f"block {line.row['case']['block']}"


def _least(
    name: str,
    required: float,
    lines: Sequence[Line],
    kind: str,
    peer: str = "plain-all",
    of: str = "fp32",
) -> Bar:
    rows = _ours(lines, kind, lambda entry: _alone(entry) and entry.row["case"]["precision"] == of)
    found = [(entry.ratios[peer], _where(entry)) for entry in rows if peer in entry.ratios]
    return _bar(name, required, min(found, default=None), "x")


def _arms(name: str, required: float, lines: Sequence[Line], kind: str) -> Bar:
    rows = _ours(lines, kind, lambda entry: entry.row["together"] and not entry.row["seeds"])
    alone = [entry for entry in rows if entry.row["arms"] == 1]
    many = [entry for entry in rows if entry.row["arms"] == 16]
    found: Found = None
    if alone and many:
        found = (many[0].per_arm / alone[0].per_arm, _where(many[0]))
    return _bar(name, required, found, "", most=True)


def _sweep(name: str, required: float, lines: Sequence[Line], kind: str) -> Bar:
    """Recording and all steps of all arms, over as many steps of one arm of the plain loop."""
    sweeps = _ours(lines, kind, lambda entry: bool(entry.row["seeds"]))
    found: Found = None
    for entry in sweeps:
        row = entry.row
        plain = [
            peer
            for peer in lines
            if peer.row["who"] == "plain-all"
            and not peer.void
            and peer.row["case"]["block"] == row["case"]["block"]
        ]
        if plain:
            steps = len(row["losses"])
            whole = row["set_up"] + steps * row["step"]
            found = (whole / (steps * plain[0].row["step"]), f"{steps} steps")
    return _bar(name, required, found, "x", most=True)


def _share(
    name: str, required: float, lines: Sequence[Line], precision: str, kind: str = "all"
) -> Bar:
    rows = _ours(lines, kind, _alone)
    found = [
        (entry.share, _where(entry))
        for entry in rows
        if entry.share is not None and entry.row["case"]["precision"] == precision
    ]
    return _bar(name, required, min(found, default=None), "")
