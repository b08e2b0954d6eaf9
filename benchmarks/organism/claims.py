"""The claims of runs on organisms: one table for each run, one column for each organism."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

INTRODUCTION = """## The library's claims on them

`oocr run locations --model nano` and so on: settings chosen on validation members, 95 % intervals
over members and seeds. In brackets what stands beside a number: the untouched model, the largest
null (what it is, below the table), and the ceiling.
"""


def claims(runs: Sequence[Path]) -> str:
    """All runs' tables; nothing if there are none."""
    by_name: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for folder in runs:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        found = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
        by_name.setdefault(config["name"], {})[config["model"]] = found
    if not by_name:
        return ""
    return "\n".join([INTRODUCTION, *(_run(name, each) for name, each in by_name.items())])


def _run(name: str, found: dict[str, list[dict[str, Any]]]) -> str:
    models = sorted(found)
    rows = {one["claim"]: dict.fromkeys(models, "–") for each in found.values() for one in each}
    nulls: dict[str, None] = {}
    for model, each in found.items():
        for one in each:
            rows[one["claim"]][model] = _cell(one)
            nulls |= {null["name"]: None for null in one["nulls"]}
    head = ["claim", *(f"`{model}`" for model in models)]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join([claim, *cells.values()])} |" for claim, cells in rows.items()]
    table = "\n".join(lines)
    return f"### {name}\n\n{table}\n\nNulls: {'; '.join(nulls) or 'none'}.\n"


def _cell(one: dict[str, Any]) -> str:
    """Verdict, number, and what stands beside it: "**holds** 0.93 [0.86, 1.00] (base …)"."""
    found = one["found"]
    if found is None:
        return f"**{one['verdict']}**"
    beside = [] if one["base"] is None else [f"base {one['base']:.2f}"]
    if one["nulls"]:
        beside.append(f"null {max(null['value'] for null in one['nulls']):.2f}")
    beside += [] if one["ceiling"] is None else [f"ceiling {one['ceiling']:.2f}"]
    text = f"**{one['verdict']}** {found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
    return f"{text} ({', '.join(beside)})" if beside else text
