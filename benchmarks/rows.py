"""Which rows there are: ours, each beside its peers, and how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.case import BATCH, Case, Kind
from benchmarks.row import Row

BLOCKS = (4, 9, 14)
MIDDLE = 9
VECTORS: tuple[Kind, ...] = ("last", "span", "all")

STEPS: dict[Kind, int] = {"last": 24, "span": 24, "all": 10, "lora": 14}
"""Of our rows: enough for the fixed loss where steps are cheap."""
PEER_STEPS = 4
SLOW_STEPS = 3
"""Of the peers that score every position: seconds a step."""
ARMS = (1, 4, 16)
ARM_STEPS: dict[Kind, int] = {"last": 12, "span": 8, "lora": 3}
SWEEP_SEEDS = 3
SWEEP_STEPS: dict[Kind, int] = {"last": 10, "span": 5}
TOKENS = (20, 82, 164)
EXAMPLES = (16, 256)

GROUPS = ("vectors", "lora", "beft", "arms", "sweep", "growth")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are run one after the other, in turns if repeated; ours first, it makes the plan.

    Attributes:
        name: for the filter.
        rows: ours and its peers.
        repeated: whether further rounds run it again.
    """

    name: str
    rows: tuple[Row, ...]
    repeated: bool = True


def groups(
    blocks: Sequence[int] = BLOCKS,
    precisions: Sequence[str] = ("fp32", "bf16"),
    names: Sequence[str] = GROUPS,
    *,
    quick: bool = False,
) -> list[Group]:
    """All that is to be run, in order.

    Args:
        blocks: where the compared rows train.
        precisions: of the model; in bf16 only the middle block and only the lean peers are run.
        names: of groups.
        quick: fewer steps, no sweep over layers, few arms.
    """
    middle = MIDDLE if MIDDLE in blocks else blocks[0]
    found: list[Group] = []
    if "fp32" in precisions:
        for block in blocks:
            found += _vectors(block, "fp32", quick) + _lora(block, "fp32", quick)
            if not quick or block == middle:
                found.append(_beft(block))
        found += _arms(middle, quick)
        found += [] if quick else [*_sweeps(middle), *_growth(middle)]
    if "bf16" in precisions:
        found += [replace(one, repeated=False) for one in _vectors(middle, "bf16", quick)]
        found += [replace(one, repeated=False) for one in _lora(middle, "bf16", quick)]
    return [one for one in found if one.name in names]


def _vectors(block: int, precision: str, quick: bool) -> list[Group]:
    out: list[Group] = []
    for kind in VECTORS:
        case = Case(kind, block, precision=precision)
        rows = [Row("ours", case, 8 if quick else STEPS[kind])]
        # All logits cost the same wherever the vector is added, so one kind stands for all. In
        # bf16 the backward of a three-dimensional LM head takes a minute a step on a CPU.
        if kind == "last" and precision == "fp32":
            rows.append(Row("plain-all", case, SLOW_STEPS))
        rows.append(Row("plain-last", case, PEER_STEPS))
        out.append(Group("vectors", tuple(rows)))
    return out


def _lora(block: int, precision: str, quick: bool) -> list[Group]:
    case = Case("lora", block, precision=precision)
    steps = 5 if quick else STEPS["lora"]
    peers = (Row("peft-last", case, PEER_STEPS), Row("trl", case, SLOW_STEPS))
    return [Group("lora", (Row("ours", case, steps), *peers))]


def _beft(block: int) -> Group:
    """A bias before Gemma's post-MLP norm: not a vector in the residual stream.

    Ours is the same bias, replayed; a plain loop with a hook on `down_proj` is there to see that
    all three train the same thing.
    """
    case = Case("beft", block)
    # The batches are those of "all", whose row has written the plan.
    plan = Row("ours", Case("all", block), 2)
    return Group(
        "beft",
        (
            plan,
            Row("ours", case, 6),
            Row("beft-hook", case, SLOW_STEPS),
            Row("beft", case, SLOW_STEPS),
        ),
        repeated=False,
    )


def _arms(block: int, quick: bool) -> list[Group]:
    """One batch of 16 examples, so that every seed sees the same tokens at every step."""
    out: list[Group] = []
    for kind, steps in ARM_STEPS.items():
        case = Case(kind, block, examples=BATCH)
        if quick and kind == "lora":
            continue
        rows = [Row("ours", case, steps, arms, together=True) for arms in ARMS]
        rows.append(Row("peft-last" if kind == "lora" else "plain-last", case, 3))
        out.append(Group("arms", tuple(rows), repeated=False))
    return out


def _sweeps(block: int) -> list[Group]:
    return [
        Group(
            "sweep",
            (Row("ours", Case(kind, block, examples=BATCH), steps, seeds=SWEEP_SEEDS),),
            repeated=False,
        )
        for kind, steps in SWEEP_STEPS.items()
    ]


def _growth(block: int) -> list[Group]:
    cases = [Case(kind, block, tokens=n) for kind in VECTORS for n in TOKENS]
    cases += [Case("last", block, examples=n) for n in EXAMPLES]
    rows = [Row("ours", case, 6 if case.kind == "last" else 4) for case in cases]
    return [Group("growth", (row,), repeated=False) for row in rows]
