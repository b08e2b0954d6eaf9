"""One row in a process of its own.

`python -m benchmarks.training.row ROW.json` writes its result beside it. A process per row:
its peak memory is its own, and no row warms up another's caches.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.training.case import RANK, Case

Who = Literal["ours", "plain-all", "plain-last", "trl", "peft-last", "beft", "beft-hook"]


@dataclass(frozen=True, slots=True)
class Row:
    """Who trains what, for how many steps.

    Attributes:
        who: ours or a peer.
        case: what is trained.
        steps: how many.
        arms: side by side (ours only).
        together: timed as a whole, by the path that takes several arms, even if it is one.
        seeds: 0, or a sweep over all layers with so many seeds (ours only).
    """

    who: Who
    case: Case
    steps: int
    arms: int = 1
    together: bool = False
    seeds: int = 0

    @property
    def key(self) -> str:
        """Unique, fit for a file name."""
        more = f"-sweep{self.seeds}" if self.seeds else f"-{self.arms}arms" if self.together else ""
        return f"{self.who}{more}-{self.case.key}"

    def save(self, path: Path, model: str, threads: int) -> None:
        """For the process that runs it."""
        raw = {**asdict(self), "model": model, "threads": threads}
        path.write_text(json.dumps(raw), encoding="utf-8")


def main(path: Path) -> None:
    """Run the row of a file; plans of cases lie in the same folder."""
    import torch

    raw = json.loads(path.read_text(encoding="utf-8"))
    name, threads = raw.pop("model"), raw.pop("threads")
    row = Row(**{**raw, "case": Case(**raw["case"])})
    torch.set_num_threads(threads)
    from benchmarks.training import memory
    from oocr.models.load import read_model

    began = time.perf_counter()
    model = read_model(name, dtype=row.case.precision, shared=True)
    loading = time.perf_counter() - began
    before = memory.resident()
    memory.forget_peak()
    result = run(model, row, path.parent)
    result |= {"loading": loading, "resident": before, "peak": memory.peak()}
    path.with_suffix(".result.json").write_text(json.dumps(result), encoding="utf-8")


def run(model: Any, row: Row, folder: Path) -> dict[str, Any]:
    """Train, timed; ours writes the case's plan into the folder, peers read it there."""
    from benchmarks.training import data, loops, ours, trl_peer
    from benchmarks.training.plan import Plan

    case, arms = row.case, row.arms
    plan_file = folder / f"plan-{case.planned.key}.json"
    if row.who == "ours":
        task = data.of(model.tokenizer, case)
        if row.seeds:
            timed, arms = ours.sweep(model, task, case, row.seeds, row.steps)
            return {**asdict(timed), "arms": arms}
        if case.kind == "beft":
            timed = ours.bias(model, task, case, Plan.load(plan_file), row.steps)
            return {**asdict(timed), "arms": 1}
        if row.together:
            timed, plan = ours.many_arms(model, task, case, row.arms, row.steps)
        else:
            timed, plan = ours.one_arm(model, task, case, row.steps)
        if row.arms == 1:
            plan.save(plan_file)
        return {**asdict(timed), "arms": arms}
    plan = Plan.load(plan_file)
    block_name = model.anatomy.block_names[case.block]
    block = model.anatomy.blocks[case.block]
    if row.who == "trl":
        timed = trl_peer.trl_loop(model.hf, model.tokenizer, plan, case, row.steps, case.lines)
    elif row.who == "peft-last":
        site = f"{block_name}.mlp.down_proj"
        timed = loops.lora_loop(model.hf, site, plan, row.steps, RANK)
    elif row.who == "beft":
        timed = loops.beft_loop(model.hf, f"{block_name}.mlp.down_proj", plan, row.steps)
    elif row.who == "beft-hook":
        module = model.hf.get_submodule(f"{block_name}.mlp.down_proj")
        zero = 0 * plan.tensor("vector")
        timed = loops.vector_loop(model.hf, module, plan, row.steps, all_logits=False, start=zero)
    else:
        start = plan.tensor("vector")
        wide = row.who == "plain-all"
        timed = loops.vector_loop(model.hf, block, plan, row.steps, all_logits=wide, start=start)
    return {**asdict(timed), "arms": 1}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
