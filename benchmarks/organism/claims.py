"""The claims of runs on organisms: one table for each run, one column for each organism."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
        judged = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
        by_name.setdefault(config["name"], {})[config["model"]] = judged
    if not by_name:
        return ""
    return "\n".join([INTRODUCTION, *(_run(name, judged) for name, judged in by_name.items())])


def _run(name: str, by_model: dict[str, list[dict[str, Any]]]) -> str:
    models = sorted(by_model)
    titles = [claim["claim"] for judged in by_model.values() for claim in judged]
    rows = {title: dict.fromkeys(models, "–") for title in titles}
    nulls: dict[str, None] = {}
    for model, judged in by_model.items():
        for claim in judged:
            rows[claim["claim"]][model] = _cell(claim)
            nulls |= {null["name"]: None for null in claim["nulls"]}
    head = ["claim", *(f"`{model}`" for model in models)]
    table = markdown_table(head, [[title, *cells.values()] for title, cells in rows.items()])
    return f"### {name}\n\n{table}\n\nNulls: {'; '.join(nulls) or 'none'}.\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _cell(claim: dict[str, Any]) -> str:
    """Verdict, number and references: "**holds** 0.93 [0.86, 1.00] (base …)"."""
    verdict, value = f"**{claim['verdict']}**", claim["found"]
    if value is None:
        return verdict
    references = [] if claim["base"] is None else [f"base {claim['base']:.2f}"]
    if claim["nulls"]:
        references.append(f"null {max(null['value'] for null in claim['nulls']):.2f}")
    references += [] if claim["ceiling"] is None else [f"ceiling {claim['ceiling']:.2f}"]
    text = f"{verdict} {value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
    return f"{text} ({', '.join(references)})" if references else text
