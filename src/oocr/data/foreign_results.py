"""Result files of earlier experiments: JSON, read into a table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oocr.data.source_file import NO_VALUE, Problems, file_text, unique_keys, unknown_key

if TYPE_CHECKING:
    import polars as pl

DIFFERENCES = "risky_minus_safe_diffs"
AMONG = "max_token_in_options"


def is_results(data: Mapping[str, object]) -> bool:
    """Whether an object has the keys of a result file, right or half right."""
    return any(key in RISK or key.count("/") > 1 for key in data)


def read_results(path: str | Path) -> pl.DataFrame:
    """Read a result file, or an InputError that names every wrong key.

    Two kinds are known. One has a list for each of `risky_minus_safe_diffs` (logits), `max_tokens`
    and `max_token_in_options`: columns source, question (from 0, in the order of the questions'
    file) and these three names. The other has flat keys like `test/accuracy/NAME`: columns
    source, split, measure, name, value.
    """
    import polars as pl

    path = Path(path)
    text = file_text(path).text
    problems = Problems(path)
    data = _parsed(text, problems)
    problems.raise_if_any()
    lines = {key: text.count("\n", 0, max(0, text.find(json.dumps(key)))) + 1 for key in data}
    if set(RISK) & set(data):
        _check_risk(data, lines, problems)
        problems.raise_if_any()
        count = len(data[DIFFERENCES])
        head = {"source": [path.name] * count, "question": list(range(count))}
        types = dict(zip(RISK, (pl.Float64, pl.String, pl.Boolean), strict=True))
        columns = {name: pl.Series(data[name], dtype=kind) for name, kind in types.items()}
        return pl.DataFrame({**head, **columns})
    rows: list[tuple[str, str, str, str, float]] = []
    for key, value in data.items():
        parts = key.split("/", 2)
        if len(parts) != 3 or not all(parts):
            problems.add(
                lines[key], "key", key, f"SPLIT/MEASURE/NAME, or the keys {', '.join(RISK)}"
            )
        elif not _number(value):
            problems.add(lines[key], key, value, "a number")
        else:
            rows.append((path.name, parts[0], parts[1], parts[2], float(value)))
    problems.raise_if_any()
    return pl.DataFrame(rows, schema=["source", "split", "measure", "name", "value"], orient="row")


def _parsed(text: str, problems: Problems) -> dict[str, Any]:
    try:
        data = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        problems.add(line, "file", NO_VALUE, f"one JSON object ({error})")
        return {}
    if not isinstance(data, dict) or not data:
        problems.add(1, "file", data, "one JSON object of results")
        return {}
    return data


def _check_risk(data: dict[str, Any], lines: dict[str, int], problems: Problems) -> None:
    for key in data:
        if key not in RISK:
            problems.add(lines[key], "key", key, unknown_key(key, RISK))
    sizes: dict[str, int] = {}
    for key, (fits, allowed) in CHECKS.items():
        values = data.get(key, NO_VALUE)
        if not isinstance(values, list):
            problems.add(lines.get(key, 1), key, values, f"a list, {allowed} for each question")
            continue
        sizes[key] = len(values)
        for number, value in enumerate(values):
            if not fits(value):
                problems.add(lines[key], f"{key}[{number}]", value, allowed)
    if len(set(sizes.values())) > 1:
        problems.add(1, "lists", sizes, "lists of one length")


def _number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    DIFFERENCES: (_number, "a number"),
    "max_tokens": (lambda value: isinstance(value, str), "a text"),
    AMONG: (lambda value: isinstance(value, bool), "true or false"),
}
RISK = tuple(CHECKS)
