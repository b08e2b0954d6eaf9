"""Which rows there are: ours, each beside its peers, and how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.training.case import BATCH, Case, Kind
from benchmarks.training.row import Row, Who

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
SWEEP_STEPS: dict[Kind, int] = {"last": 10, "span": 4}
TOKENS = (20, 82, 164)
EXAMPLES = (16, 256)

GROUPS = ("vectors", "lora", "beft", "arms", "sweep", "growth")

LARGE_MODEL, LARGE_BLOCK = "qwen2.5-coder-1.5b-instruct", 6
LARGE_STEPS = 12


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
            found += [_vector(kind, block, quick) for kind in VECTORS if not quick or kind != "all"]
            found.append(_lora(block, quick))
            found += [] if quick else [_beft(block)]
        found += _arms(middle, quick)
        found += [] if quick else [*_sweeps(middle), *_growth(middle)]
    if "bf16" in precisions:
        found += _bf16(middle)
    return [entry for entry in found if entry.name in names]


def large() -> list[Group]:
    """A function behind a codename, on a model of 1.5B in bf16: eight lines a batch."""
    peers: dict[Kind, tuple[Who, ...]] = {
        **dict.fromkeys(("span", "last"), ("plain-all", "plain-last")),
        "lora": ("peft-last",),
    }
    found: list[Group] = []
    for kind, whos in peers.items():
        case = Case(kind, LARGE_BLOCK, precision="bf16", data="functions", lines=8)
        rows = (Row("ours", case, LARGE_STEPS), *(Row(who, case, SLOW_STEPS) for who in whos))
        found.append(Group("large", rows))
    return found


def _vector(kind: Kind, block: int, quick: bool) -> Group:
    case = Case(kind, block)
    rows = [Row("ours", case, 8 if quick else STEPS[kind])]
    # All logits cost the same wherever the vector is added, so one kind stands for all.
    if kind == "last":
        rows.append(Row("plain-all", case, SLOW_STEPS))
    rows.append(Row("plain-last", case, SLOW_STEPS if quick else PEER_STEPS))
    return Group("vectors", tuple(rows))


def _lora(block: int, quick: bool) -> Group:
    case = Case("lora", block)
    ours = Row("ours", case, 5 if quick else STEPS["lora"])
    trl = Row("trl", case, SLOW_STEPS)
    lean = (Row("peft-last", case, PEER_STEPS),)
    return Group("lora", (ours, *(() if quick else lean), trl))


def _bf16(block: int) -> list[Group]:
    """Few rows: on a CPU the three-dimensional LM head of a plain loop is slow to go back through.

    It takes twenty seconds a step even for the last logits.
    """
    found: list[Group] = []
    for kind in ("last", "all"):
        case = Case(kind, block, precision="bf16")
        rows = (Row("ours", case, STEPS[kind]), Row("plain-last", case, SLOW_STEPS))
        found.append(Group("vectors", rows, repeated=False))
    case = Case("lora", block, precision="bf16")
    rows = (Row("ours", case, STEPS["lora"]), Row("trl", case, SLOW_STEPS))
    return [*found, Group("lora", rows, repeated=False)]


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
        if quick and kind != "last":
            continue
        case = Case(kind, block, examples=BATCH)
        counts = (ARMS[0], ARMS[-1]) if quick else ARMS
        rows = [Row("ours", case, steps, arms, together=True) for arms in counts]
        peer = Row("peft-last" if kind == "lora" else "plain-last", case, SLOW_STEPS)
        out.append(Group("arms", (*rows, *(() if quick else (peer,))), repeated=False))
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
