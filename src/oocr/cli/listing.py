"""`oocr tasks` lists tasks and built-in runs; `oocr doctor` tests steering a model.

The template imports nothing heavy.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oocr.errors import RunError
from oocr.families.registry import FAMILIES
from oocr.models.sources.bundled import millions
from oocr.words import counted

if TYPE_CHECKING:
    from oocr.engine.selftest import Check


def print_tasks() -> None:
    """The task families and the built-in runs."""
    from oocr.runs.read_config import BUILTIN, OF_MODELS, PAPER

    table = Table("family", "what it asks", box=None)
    for family in FAMILIES.values():
        table.add_row(family.name, family.about)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"\nbuilt-in runs: {', '.join(BUILTIN)}   data card: oocr tasks countries\n"
        "your own task:  oocr tasks --template > mine.yaml, then oocr run mine.yaml\n"
        f"with settings for one model: {', '.join(OF_MODELS)}\n"
        "the paper's runs, on gemma-3-12b-it (oocr plan paper/… --gpu 80GB):",
    )
    groups: dict[str, list[str]] = {}
    for name in PAPER:
        task, _, rest = name.partition("-")
        groups.setdefault(task, []).append(rest)
    for task, names in groups.items():
        console.print(f"  {task}-  {', '.join(names)}")


def print_template() -> None:
    """Print a commented YAML file for the user's own task."""
    for family in FAMILIES.values():
        if family.template is not None:
            print(family.template.read_text(encoding="utf-8"), end="")


def examine(name: str, *, dtype: str = "auto", device: str = "auto") -> list[Check]:
    """Load a model, steer it at the output of every block, and print the checks."""
    from oocr.data.chat_template import template_notes
    from oocr.data.check_rows import Row, check_rows, tokenizer_notes
    from oocr.engine.selftest import replayed, self_test
    from oocr.explain.neutral import neutral_passages, neutral_questions
    from oocr.models.load import read_model
    from oocr.models.position_limits import limits_of
    from oocr.runs.estimates.memory_estimate import check_loading

    console = Console(highlight=False)
    check_loading({"name": name, "dtype": dtype, "device": device})
    began = time.perf_counter()
    model = read_model(
        name, dtype=dtype, device=device, on_progress=lambda text: console.print(escape(text))
    )
    parts = model.anatomy
    console.print(
        f"[bold]{escape(model.name)}[/]  {type(model.hf).__name__}, "
        f"{millions(model.parameters)} parameters, "
        f"{str(model.dtype).removeprefix('torch.')} on {model.device}\n"
        f"  blocks      {parts.block_names[0]} to {parts.block_names[-1]}\n"
        f"  d_model     {parts.d_model}\n"
        f"  final norm  {type(parts.final_norm).__name__}\n"
        f"  LM head     {parts.vocab} logits, scale {parts.logit_scale:g}, "
        f"soft cap {parts.logit_softcap or 'none'}\n"
        f"  chat        {'has a template' if model.has_chat_template else 'no template'}\n"
        f"  loaded in   {time.perf_counter() - began:.1f} s; fingerprint {model.fingerprint}",
    )
    limits = limits_of(model)
    most, passages = limits.longest, neutral_passages(model)
    texts = [Row(f"neutral passage {n}", text, most=most) for n, text in enumerate(passages)]
    check_rows(model.tokenizer, [*texts, *map(Row.asked, neutral_questions(model))], limits)
    for note in (*tokenizer_notes(model.tokenizer, limits), *template_notes(model.tokenizer)):
        console.print(f"  note        {note}", markup=False, soft_wrap=True)
    model = replayed(model)
    if not model.reuses_keys:
        console.print("  replayed    for whole texts: keys of earlier tokens cannot be used again")
    checks = self_test(model, layers=range(-1, model.n_blocks))
    table = Table("holds at each block's output (-1: the embedding's)", "blocks", "worst", box=None)
    for name_of_check in dict.fromkeys(check.name for check in checks):
        at_blocks = [check for check in checks if check.name == name_of_check]
        good = sum(check.passed for check in at_blocks)
        worst = max(at_blocks, key=lambda check: (not check.passed, check.error))
        mark = "[green]✓[/]" if good == len(at_blocks) else "[red]✗[/]"
        error = worst.trouble or f"{worst.error:.1e} (allowed {worst.allowed:.0e})"
        table.add_row(f"{mark} {worst.says}", f"{good} of {len(at_blocks)}", error)
    console.print(table)
    failed = [check for check in checks if not check.passed]
    if failed:
        blocks = sorted({check.layer for check in failed})
        plain = all(check.name == "replays" for check in failed)
        end = "; it is steered by full forward passes, which is exact but slower" if plain else ""
        raise RunError(f"{name}: {counted(len(failed), 'check')} failed (blocks {blocks}){end}")
    console.print("all checks passed: steering is exact, and the fast path gives the same numbers")
    return checks
