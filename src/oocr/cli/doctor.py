"""What `oocr doctor` prints: a model's parts, and whether steering it does what it says."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from oocr.engine.selftest import Check, self_test
from oocr.errors import RunError
from oocr.models.bundled import millions
from oocr.models.load import read_model


def examine(name: str, *, dtype: str = "auto", device: str = "auto") -> list[Check]:
    """Load a model, steer it at every block's output, and print what was found.

    Args:
        name: as `read_model` takes it.
        dtype: likewise.
        device: likewise.

    Raises:
        InputError: no such model, or one whose parts are not understood.
        RunError: a check failed; all are printed first.
    """
    console = Console()
    began = time.perf_counter()
    model = read_model(name, dtype=dtype, device=device, on_progress=console.print)
    parts = model.anatomy
    console.print(
        f"[bold]{model.name}[/]  {type(model.hf).__name__}, "
        f"{millions(model.parameters)} parameters, "
        f"{str(model.dtype).removeprefix('torch.')} on {model.device}\n"
        f"  blocks      {parts.block_names[0]} to {parts.block_names[-1]}\n"
        f"  d_model     {parts.d_model}\n"
        f"  final norm  {type(parts.final_norm).__name__}\n"
        f"  LM head     {parts.vocab} logits, scale {parts.logit_scale:g}, "
        f"soft cap {parts.logit_softcap or 'none'}\n"
        f"  chat        {'has a template' if model.has_chat_template else 'no template'}\n"
        f"  loaded in   {time.perf_counter() - began:.1f} s; fingerprint {model.fingerprint}",
        highlight=False,
    )
    checks = self_test(model, layers=range(-1, model.n_blocks))
    table = Table("holds at each block's output (-1: the embedding's)", "blocks", "worst", box=None)
    for check in {one.name: one for one in checks}:
        own = [one for one in checks if one.name == check]
        good = sum(one.passed for one in own)
        worst = max(own, key=lambda one: (not one.passed, one.error))
        mark = "[green]✓[/]" if good == len(own) else "[red]✗[/]"
        told = worst.trouble or f"{worst.error:.1e} (allowed {worst.allowed:.0e})"
        table.add_row(f"{mark} {worst.says}", f"{good} of {len(own)}", told)
    console.print(table)
    failed = [one for one in checks if not one.passed]
    if failed:
        blocks = sorted({one.layer for one in failed})
        plain = all(one.name == "replays" for one in failed)
        end = "; it is steered through whole passes, exact and slower" if plain else ""
        raise RunError(f"{name}: {len(failed)} checks failed (blocks {blocks}){end}")
    console.print("all checks passed: steering is exact, and the fast path gives the same numbers")
    return checks
