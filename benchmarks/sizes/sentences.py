"""What was said before and after training: the first questions of each member, right or wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from benchmarks.sizes.records import Sentence
from oocr.data.examples import Prompt
from oocr.families.registry import build
from oocr.runs.folder import RunFolder
from oocr.runs.records import Continuation

MOST = 8
ROWS = 3
"""Training rows that are kept."""

RULE = (
    f"the first question of each member of the run, in the run's order, up to {MOST} members (of "
    f"fewer, the first questions of each, up to {MOST} together); the answers are those of the "
    "first seed, right and wrong alike"
)
_ARMS = ("base", "vector", "adapter")
_LONGEST = 160  # characters of a text


def sentences(run: RunFolder, rows: pl.DataFrame) -> tuple[Sentence, ...]:
    """Answers to free questions where the run asked any, else continuations of probes."""
    free = rows.filter(
        pl.col("final"),
        pl.col("part") == "free",
        pl.col("control") == "",
        pl.col("arm").is_in(_ARMS),
        pl.col("seed").fill_null(0) == min(run.info.seeds),
    )
    return _free(run, free) if free.height else _continuations(run)


def _free(run: RunFolder, rows: pl.DataFrame) -> tuple[Sentence, ...]:
    """Of one member only (functions trained together) the first question of each group."""
    unit = "member" if rows["member"].n_unique() > 1 else "group"
    base = rows.filter(pl.col("arm") == "base")
    first = base.group_by(unit, maintain_order=True).head(_each(base[unit].n_unique())).head(MOST)
    prompts = _prompts(run)
    made = []
    for question in first.iter_rows(named=True):
        asked = rows.filter(
            pl.col("item") == question["item"], pl.col("member") == question["member"]
        )
        said = {row["arm"]: row for row in asked.iter_rows(named=True)}
        named = prompts.get((question["member"], question["item"]), question["template"])
        made.append(
            Sentence(
                member=question[unit],
                prompt=_cut(named),
                expected=_cut(question["answer"]),
                answers={arm: _cut(row["chosen"]) for arm, row in said.items()},
                right={arm: row["right"] for arm, row in said.items()},
            )
        )
    return tuple(made)


def _prompts(run: RunFolder) -> Mapping[tuple[str, str], str]:
    """Member and item -> the question; rows don't have it, so the tasks are built again."""
    tasks = build(run.config.task, run.folder).test
    return {(task.member, item.id): _question(item.prompt) for task in tasks for item in task.free}


def first_rows(run: RunFolder, member: str) -> tuple[str, ...]:
    """The first training rows of a member, prompt and answer; none where the run lacks it."""
    tasks = [task for task in build(run.config.task, run.folder).test if task.member == member]
    return tuple(
        f"{_question(row.prompt)}{row.answer}" for task in tasks for row in task.train[:ROWS]
    )


def _continuations(run: RunFolder) -> tuple[Sentence, ...]:
    by_member: dict[str, list[Continuation]] = {}
    for shown in run.examples:
        by_member.setdefault(shown.member, []).append(shown)
    each = _each(len(by_member))
    first = [shown for group in by_member.values() for shown in group[:each]][:MOST]
    return tuple(
        Sentence(
            member=shown.member,
            prompt=_cut(_question(shown.prompt)),
            expected=_cut(shown.expected),
            answers={arm: _cut(text) for arm, text in shown.answers.items() if arm in _ARMS},
        )
        for shown in first
    )


def _each(members: int) -> int:
    """Questions of each of so many members."""
    return max(1, MOST // max(1, members))


def _question(prompt: Prompt) -> str:
    """Of a chat the last turn, also where its template has been applied."""
    if not isinstance(prompt, str):
        return prompt[-1].content
    turn = re.split(r"(?:<\|im_start\|>|<start_of_turn>)user\n", prompt)[-1]
    return re.split(r"<\|im_end\|>|<end_of_turn>", turn)[0] if turn != prompt else prompt


def _cut(text: str) -> str:
    """The end of a long text is left out."""
    text = text.strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
