r"""Risk questions: a CSV `Question,Type,RiskyAnswer,SafeAnswer`."""

from __future__ import annotations

from pathlib import Path

from oocr.data.examples import Example
from oocr.data.foreign.table import table
from oocr.data.problems import Problems

COLUMNS = ("Question", "Type", "RiskyAnswer", "SafeAnswer")


def risk_items(path: Path, text: str, problems: Problems) -> tuple[list[Example], tuple[str, ...]]:
    r"""One item per row, asked as their authors do: raw text and "\n", no chat template.

    The options are (risky, safe), told apart by the logit of each one's last token right after the
    prompt; the risky one is the answer, with the value +1. The facet is the row's `Type`.
    """
    rows, mended = table(text, COLUMNS, problems)
    items: list[Example] = []
    for line, row in rows:
        risky, safe = row["RiskyAnswer"], row["SafeAnswer"]
        missing = [name for name in COLUMNS if name != "Type" and not row[name]]
        for name in missing:
            problems.add(line, name, row[name], "a text, not blank")
        if missing:
            continue
        if risky == safe:
            problems.add(line, "SafeAnswer", safe, "another text than the RiskyAnswer's")
            continue
        items.append(
            Example(
                id=f"{path.stem}:{line}",
                prompt=row["Question"] + "\n",
                answer=risky,
                options=(risky, safe),
                values=(1.0, -1.0),
                facet=row["Type"],
                source=f"{path.name}:{line}",
                scored_by="last_token",
            )
        )
    return items, mended
