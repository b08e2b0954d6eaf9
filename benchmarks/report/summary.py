"""What the rows say: which are void, ratios to peers, share of the machine's peak, time to a loss.

Everything here is computed from the plain values of a results file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.training.case import BATCH

PEERS = ("plain-all", "plain-last", "peft-last", "trl", "beft-hook", "beft")

TOLERANCE = {"fp32": 0.01, "bf16": 0.25}
"""Largest difference of two rows' losses at any step they share, in nats per item."""

SPREAD = 0.25
"""Share by which the slowest round may exceed the fastest before the row is called unsteady."""

FIXED_LOSS = 0.5
"""Nats per item; reached when the mean of the last losses, one per batch, is below it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row with all that follows from it.

    Attributes:
        row: as in the results file.
        void: why the row says nothing, or "".
        difference: the largest difference of its losses to those of its reference, if there is one.
        ratios: peer -> the peer's seconds per step over this row's, per arm.
        rate: FLOP/s of the necessary work.
        share: of the matmul peak.
        to_loss: seconds to the fixed loss, recording included.
        extrapolated: whether the number of steps in `to_loss` is our row's, the losses being equal
            as far as this row went.
    """

    row: dict[str, Any]
    void: str = ""
    difference: float | None = None
    ratios: dict[str, float] = field(default_factory=dict[str, float])
    rate: float | None = None
    share: float | None = None
    to_loss: float | None = None
    extrapolated: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is a row of ours."""
        return bool(self.row["who"] == "ours")

    @property
    def per_arm(self) -> float:
        """Seconds per step of one arm."""
        return float(self.row["step"] / self.row["side_by_side"])


def summarise(results: dict[str, Any]) -> list[Line]:
    """A line for each row, in their order."""
    rows = results["rows"]
    return [_line(row, rows, results) for row in rows]


def _line(row: dict[str, Any], rows: Sequence[dict[str, Any]], results: dict[str, Any]) -> Line:
    if "error" in row:
        return Line(row, void=f"failed: {row['error']}")
    reference = _reference(row, rows)
    void, difference = "", None
    if reference is not None and "error" in reference:
        void = f"its reference {reference['key']} failed"
    elif reference is not None:
        difference = worst_difference(row["losses"], reference["losses"])
        allowed = TOLERANCE[row["case"]["precision"]]
        if not difference <= allowed:  # also true for NaN
            void = f"losses differ from {reference['key']} by {difference:.2g} (> {allowed:g})"
    elif row["who"] not in ("ours", "beft-hook"):
        void = "no row of ours with the same training"
    rate = share = None
    work = results["work"].get(row["key"])
    if work and not void:
        rate = work / row["step"]
        peak = results["peaks"].get(row["case"]["precision"])
        share = rate / peak["rate"] if peak else None
    to_loss, extrapolated = _to_loss(row, rows, void)
    ratios = {} if void or row["who"] != "ours" else _ratios(row, rows)
    return Line(row, void, difference, ratios, rate, share, to_loss, extrapolated)


def worst_difference(a: Sequence[float], b: Sequence[float]) -> float:
    """Over the steps that both have; infinite if there is none."""
    pairs = list(zip(a, b, strict=False))
    return max((abs(x - y) for x, y in pairs), default=float("inf"))


def _reference(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Whose losses a row must have: a lean peer for ours, ours for a peer, its hook for BEFT."""
    same = [entry for entry in rows if entry["case"] == row["case"] and entry is not row]
    alone = [entry for entry in same if entry["arms"] == 1 and not entry["seeds"]]
    if row["who"] == "beft":
        wanted = ["beft-hook"]
    elif row["who"] == "ours":
        wanted = ["plain-last", "peft-last", "trl", "beft-hook", "plain-all", "ours"]
    else:
        wanted = ["ours"]
    return next((entry for who in wanted for entry in alone if entry["who"] == who), None)


def peer_of(row: dict[str, Any], who: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The peer's row to compare with: the same case, else one whose steps cost the same.

    A plain loop runs every token through every block, wherever the vector is added and however
    many examples there are.
    """
    fields = ("block", "tokens", "precision")
    found = [
        entry
        for entry in rows
        if entry["who"] == who
        and "error" not in entry
        and all(entry["case"][name] == row["case"][name] for name in fields)
    ]
    exact = [entry for entry in found if entry["case"]["kind"] == row["case"]["kind"]]
    close = [
        entry for entry in found if {entry["case"]["kind"], row["case"]["kind"]} <= set(VECTORS)
    ]
    for pool in (exact, close):
        same = [entry for entry in pool if entry["case"] == row["case"]]
        if pool:
            return (same or pool)[0]
    return None


VECTORS = ("last", "span", "all")


def _ratios(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    if row["seeds"]:
        return {}  # a sweep is compared as a whole (`benchmarks.report.bars`)
    out: dict[str, float] = {}
    for who in PEERS:
        peer = peer_of(row, who, rows)
        if peer is not None and not _differs(peer, rows):
            out[who] = peer["step"] / (row["step"] / row["side_by_side"])
    return out


def _differs(peer: dict[str, Any], rows: Sequence[dict[str, Any]]) -> bool:
    reference = _reference(peer, rows)
    if reference is None or "error" in reference:
        return True
    allowed = TOLERANCE[peer["case"]["precision"]]
    return not worst_difference(peer["losses"], reference["losses"]) <= allowed


def unsteady(lines: Sequence[Line]) -> list[Line]:
    """Rows whose rounds differ by more than SPREAD: something else ran on the machine."""
    measured = [entry for entry in lines if "steps_measured" in entry.row]
    return [
        entry
        for entry in measured
        if max(entry.row["steps_measured"]) > (1 + SPREAD) * min(entry.row["steps_measured"])
    ]


def steps_to(losses: Sequence[float], batches: int, wanted: float) -> int | None:
    """Steps until the mean of the last losses, one per batch, is at most `wanted`."""
    for step in range(batches, len(losses) + 1):
        if sum(losses[step - batches : step]) / batches <= wanted:
            return step
    return None


def _to_loss(
    row: dict[str, Any], rows: Sequence[dict[str, Any]], void: str
) -> tuple[float | None, bool]:
    if void or row["seeds"] or row["together"] or row["who"].startswith("beft"):
        return None, False
    ours = row if row["who"] == "ours" else _reference(row, rows)
    if ours is None or "error" in ours:
        return None, False
    batches = -(-row["case"]["examples"] // row["case"].get("lines", BATCH))
    steps = steps_to(ours["losses"], batches, FIXED_LOSS)
    if steps is None:
        return None, False
    return row["set_up"] + steps * row["step"], steps > len(row["losses"])
