"""docs/benchmarks.md, written from a results file."""

from __future__ import annotations

from typing import Any

from benchmarks.report.bars import Bar, bars, large_bars
from benchmarks.report.summary import FIXED_LOSS, TOLERANCE, Line, summarise, unsteady
from benchmarks.report.table import COLUMNS, cells, sections
from benchmarks.report.texts import WHO, bar_texts, giga, percent, row_name, seconds, unsteady_text

HEAD = """# Benchmarks

Written by `make bench`; do not edit. It trains on Gemma-3-270M, with ours and the peers side by
side: the same tokens in the same batches and order, the same start, the same optimizer (Adam) and
rate, the same precision, one process per row. A row whose losses differ from its reference's at any
step they share, by more than {fp32:g} nats per item in fp32 ({bf16:g} in bf16), is void and
counts for nothing.
"""

READING = """## How to read it

- **s/step**: median over steps, the first two left out; of all arms where several run at once.
- **s to {loss:g} nats**: until the mean of the last losses, one per batch, is below it. Ours
  includes the recording pass, the peers their set-up; loading the model is left out of both. In
  brackets: the peer ran fewer steps than that, so the number of steps is our row's (their losses
  are equal as far as the peer went), the time of a step its own.
- **vs**: the peer's seconds per step over ours per arm. A plain loop costs the same wherever the
  vector is added; the one with all logits is run for the last token and stands for the others.
- **TRL + PEFT** is the trainer as it comes, less what only costs (gradient checkpointing). Where
  there is no Triton, as on a CPU, TRL 1.16's LM head scores every position, not only the answer's.
  Hence a second peer, a plain loop with PEFT's LoRA and the last logits only: it stands in the
  column "vs last logits", as PEFT's BEFT does for its bias.
- **GFLOP/s, of peak**: matrix products that a step cannot do without
  (`benchmarks/training/flops.py`) per second, and their share of the best matrix product that was
  found on this machine in the same run. What is computed beyond the necessary does not count, nor
  does pointwise work.
- **MB more**: highest resident memory over what was resident after loading the model.
- **unsteady**: the rounds of a row differ by more than a quarter; something else ran.
- **loss diff**: the largest difference to the reference's losses.
- BEFT's bias sits before a norm in Gemma, so it is no vector in the residual stream. Ours is the
  same bias, replayed; a plain loop with a hook at the same place shows that all train the same.
- What bounds the bars: a last-token step cannot do without the whole LM head, forward and for the
  gradient, for each of its rows. That is most of its arithmetic, and few rows run at half the peak
  or less. So one arm alone is held by the head, and arms side by side gain until the head is
  compute-bound: there an arm costs what its arithmetic costs, and no third of that can be had.
- The arms that run side by side differ in their seed and share one batch of 16 examples.
"""


def page(results: dict[str, Any], figure: str, large: dict[str, Any] | None = None) -> str:
    """The page as Markdown.

    Args:
        results: a results file.
        figure: path of the figure, relative to the page.
        large: a results file of the rows on the large model.
    """
    lines = summarise(results)
    parts = [HEAD.format(**TOLERANCE), _machine(results), "## The bars\n", _bars(bars(lines))]
    parts.append(f"![seconds per step and growth]({figure})\n")
    for title, group in sections(lines):
        parts += [f"## {title[0].upper()}{title[1:]}\n", *_rows(group)]
    parts += [f"- {unsteady_text(entry.row)}\n" for entry in unsteady(lines)]
    parts += _large(large) if large else []
    parts += [READING.format(loss=FIXED_LOSS)]
    if times := _where(results, lines):
        parts += [WHERE, times]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _rows(lines: list[Line]) -> list[str]:
    voids = [
        f"- void: {WHO[entry.row['who']]}, {row_name(entry.row)}: {entry.void}\n"
        for entry in lines
        if entry.void
    ]
    return [_table(lines), *voids]


def _large(results: dict[str, Any]) -> list[str]:
    """The rows on the large model, with their bars and where their time goes."""
    lines = summarise(results)
    peak, rounds = results["peaks"]["bf16"], results["rounds"]
    head = f"""## {results["model"]}, bf16

Written by `python -m benchmarks --large`, on {results["machine"]["processor"]}, \
{results["machine"]["threads"]} threads, {results["date"]}, {rounds} round(s). \
Calls of a function that stands behind a codename, eight to a batch, block \
{lines[0].row["case"]["block"]}; matrix product {giga(peak["rate"])} GFLOP/s ({peak["shape"]}).
"""
    steady = [f"- {unsteady_text(entry.row)}\n" for entry in unsteady(lines)]
    return [head, _bars(large_bars(lines)), *_rows(lines), *steady, _where(results, lines)]


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    peaks = "; ".join(
        f"{precision} {giga(peak['rate'])} GFLOP/s ({peak['shape']})"
        for precision, peak in results["peaks"].items()
    )
    amx = any(flag.startswith("amx") for flag in machine["instructions"])
    return f"""## The machine

- {machine["processor"]}, {machine["cores"]} cores, {machine["threads"]} threads used, \
{machine["memory"] / 2**30:.0f} GiB, {machine["system"]}; \
instructions: {", ".join(machine["instructions"]) or "not known"}{"" if amx else " (no AMX)"}
- Python {machine["python"]}, {libraries}
- matrix product, best found in this run: {peaks}
- {results["date"]}, {results["rounds"]} round(s), {results["minutes"]:.0f} minutes
"""


def _bars(found: list[Bar]) -> str:
    rows = [(bar.name, *bar_texts(bar)) for bar in found]
    return _markdown(("bar", "required", "found", ""), rows)


def _table(lines: list[Line]) -> str:
    return _markdown(("row", *COLUMNS), [(row_name(entry.row), *cells(entry)) for entry in lines])


def _markdown(names: tuple[str, ...], rows: list[Any]) -> str:
    out = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    out += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(out) + "\n"


def _where(results: dict[str, Any], lines: list[Line]) -> str:
    """For each compared row of ours: what the arithmetic alone would take at the peak."""
    rows = []
    for line in lines:
        row = line.row
        work = results["work"].get(row["key"])
        peak = results["peaks"].get(row["case"]["precision"])
        if not line.ours or line.void or not work or not peak or row["seeds"]:
            continue
        if row["together"] or row["case"]["tokens"] != 41 or row["case"]["examples"] != 64:
            continue
        least = work / peak["rate"]
        head = results["head_work"].get(row["key"], 0.0) / work
        rows.append(
            (
                f"{row_name(row)}, block {row['case']['block']}, {row['case']['precision']}",
                f"{work / 1e9:.1f}",
                percent(head),
                seconds(least),
                seconds(row["step"]),
                percent(1 - least / row["step"]),
                seconds(row["set_up"]),
                seconds(row["loading"]),
            )
        )
    names = (
        "row",
        "necessary GFLOP",
        "of that LM head",
        "s at the peak",
        "s/step",
        "not arithmetic",
        "recording s",
        "loading s",
    )
    return _markdown(names, rows) if rows else ""


WHERE = """## Where the time goes

The time that the necessary matrix products would take at the peak, and what a step takes. The rest
is reading weights (a short step reads every weight above the block, and the LM head, for a few
rows), pointwise work (norms, rotary embeddings, softmax, GELU), Python, and what is computed though
it need not be. Recording is paid once for all arms, seeds and rates.
"""
