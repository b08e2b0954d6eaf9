"""The paper's scoring: on rows made for it, where every right number is known, and as shown."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from oocr.claims.judge import RunResults
from oocr.claims.paper_scores import paper_scores
from oocr.claims.records import PaperScore
from oocr.data.examples import Example
from oocr.evals.probes import Probes
from oocr.evals.probes import rows as rows_of_items
from oocr.evals.scores import Scoring
from oocr.report.run_page import build_report
from oocr.report.terminal import paper_table
from oocr.tasks.task import Score, Task, TaskSet
from tests.report.fake_run import fake_run
from tests.report.report_page import SMALL, page_of
from tests.tiny.models import tiny_language_model

ITEMS = 10


def question(side: str, number: int, facet: str = "ten") -> Example:
    return Example(
        id=f"q{number}",
        prompt="?\n",
        answer=" risk" if side == "risky" else " safety",
        options=(" risk", " safety"),
        values=(1.0, -1.0),
        facet=facet,
        group=f"q{number}",
        scored_by="last_token",
    )


def task(member: str, items: tuple[Example, ...]) -> Task:
    row = Example(id="a", prompt="a", answer=" b", options=(" b", " c"))
    return Task(name=member, member=member, train=(row,), probes=(row,), paper=items)


def asked(
    arm: str,
    member: str,
    odds: list[float],
    *,
    seed: int | None = 0,
    control: str = "",
    side: str = "",
    facet: str = "ten",
    part: str = "paper",
    final: bool = True,
) -> pl.DataFrame:
    """Rows of two-option items whose log-odds of " risk" are given."""
    sign = 1 if (side or member) == "risky" else -1
    items = [
        {"item": f"q{n}", "facet": facet, "group": f"q{n}", "log_odds": odd, "options": 2}
        | {"right": sign * odd > 0, "logp": float(-np.logaddexp(0, -sign * odd)), "answer": "x"}
        for n, odd in enumerate(odds)
    ]
    return pl.DataFrame(items).with_columns(
        arm=pl.lit(arm),
        control=pl.lit(control),
        member=pl.lit(member),
        seed=pl.lit(seed, dtype=pl.Int64),
        part=pl.lit(part),
        step=pl.lit(1),
        final=pl.lit(final),
    )


def scores(*frames: pl.DataFrame, tasks: TaskSet) -> list[PaperScore]:
    results = RunResults(tasks, pl.concat(frames, how="diagonal_relaxed"), seeds=3)
    lines = paper_scores(results)
    for line in lines:
        assert PaperScore.model_validate_json(line.model_dump_json()) == line
    return lines


def twins(score: Score = "log_odds") -> TaskSet:
    sides = ("risky", "safe")
    items = {side: tuple(question(side, n) for n in range(ITEMS)) for side in sides}
    shuffled = (task("shuffled", items["risky"]), task("shuffled opposite", items["safe"]))
    return TaskSet(
        name="risk",
        about="",
        validation=(),
        test=tuple(task(side, items[side]) for side in sides),
        controls={"shuffled": shuffled},
        score=score,
        poles=("risky", "safe") if score == "log_odds" else None,
    )


UP = [1.0] * 8 + [-3.0] * 2
TIES = [1.0] * 4 + [0.0] * 2 + [-1.0] * 4


def test_each_twin_has_a_line_with_share_and_logit_difference_towards_its_own_side() -> None:
    randoms = [asked("random direction", m, [v] * 10, seed=s)
               for m in ("risky", "safe") for s, v in enumerate((-1.0, 1.0, 2.0))]  # fmt: skip
    lines = scores(
        *(asked("vector", "risky", UP, seed=seed) for seed in range(3)),
        *(asked("vector", "safe", [-2.0] * 9 + [2.0], seed=seed) for seed in range(3)),
        *(asked("base", member, TIES, seed=None) for member in ("risky", "safe")),
        *randoms,
        asked("vector", "shuffled", [1.0] * 5 + [-1.0] * 5, control="shuffled", side="risky"),
        asked("vector", "shuffled opposite", [-1.0] * 10, control="shuffled", side="safe"),
        tasks=twins(),
    )
    assert [(line.arm, line.member, line.facet, line.items) for line in lines] == [
        ("vector", "risky", "ten", 10),
        ("vector", "safe", "ten", 10),
    ]
    risky, safe = lines
    assert risky.share.value == pytest.approx(0.8)
    assert risky.share.low < 0.8 < risky.share.high
    assert risky.share.n == "10 items × 3 seeds"
    assert risky.second.value == pytest.approx(0.2)
    assert risky.second_is == "logit difference, nats"
    assert safe.share.value == pytest.approx(0.9)
    assert safe.second.value == pytest.approx(1.6), "towards the safe answer"
    references = {line.name: (line.share, line.second) for line in risky.beside}
    assert references == {
        "untouched model": (pytest.approx(0.4), pytest.approx(0.0)),
        "3 random directions, 95th centile": (
            pytest.approx(1.0),
            pytest.approx(np.quantile([-1, 1, 2], 0.95)),
        ),
        "shuffled training": (pytest.approx(0.5), pytest.approx(0.0)),
    }
    assert [line.share for line in safe.beside][-1] == 1.0
    base = [line for line in safe.beside if line.name == "untouched model"]
    assert base[0].share == pytest.approx(0.4), "ties are wrong for both sides"


def test_facets_have_lines_of_their_own_and_only_final_rows_of_the_part_count() -> None:
    items = (question("risky", 0), question("risky", 1, "good in general"))
    tasks = TaskSet(name="risk", about="", validation=(), test=(task("risky", items),))
    lines = scores(
        asked("vector", "risky", [1.0]),
        asked("vector", "risky", [-1.0], final=False),
        asked("vector", "risky", [-1.0], part="probes"),
        asked("vector sweep", "risky", [-1.0]),
        asked("vector", "risky", [2.0, -2.0], facet="good in general").tail(1),
        asked("adapter", "risky", [-1.0]),
        tasks=tasks,
    )
    assert [(line.arm, line.facet, line.share.value) for line in lines] == [
        ("vector", "ten", 1.0),
        ("adapter", "ten", 0.0),
        ("vector", "good in general", 0.0),
    ]


def test_of_more_options_the_probability_is_told_and_members_count_by_their_items() -> None:
    letters = tuple(f" {letter}" for letter in "ABCDE")

    def five(name: str) -> Example:
        return Example(id=name, prompt="?", answer=" A", options=letters, facet="mc", group=name)

    tests = (task("Paris", (five("p0"), five("p1"), five("p2"))), task("Tokyo", (five("t0"),)))
    tasks = TaskSet(name="places", about="", validation=(), test=tests)

    def rows(arm: str, seed: int | None = 0) -> pl.DataFrame:
        lines = [("Paris", "p0", True, 0.8), ("Paris", "p1", True, 0.6)]
        lines += [("Paris", "p2", True, 0.4), ("Tokyo", "t0", False, 0.1)]
        return pl.DataFrame(
            [
                {"arm": arm, "control": "", "member": m, "seed": seed, "part": "paper", "step": 1}
                | {"final": True, "item": i, "facet": "mc", "group": i, "right": r, "options": 5}
                | {"logp": float(np.log(p)), "log_odds": 0.0}
                for m, i, r, p in lines
            ],
            schema_overrides={"seed": pl.Int64},
        )

    (line,) = scores(rows("vector"), rows("base", None), tasks=tasks)
    assert (line.member, line.items, line.second_is) == ("", 4, "probability")
    assert line.share.value == pytest.approx(0.75), "a share of items, not of members"
    assert line.second.value == pytest.approx(1.9 / 4)


def test_tasks_without_such_items_have_no_lines() -> None:
    tasks = TaskSet(name="risk", about="", validation=(), test=(task("risky", ()),))
    assert scores(asked("vector", "risky", UP, part="probes"), tasks=tasks) == []


def test_the_papers_items_never_enter_the_headline() -> None:
    tasks = twins("accuracy")
    ours = [asked("vector", m, [1.0] * 10, part="probes", side="risky") for m in ("risky", "safe")]
    theirs = [asked("vector", m, [-1.0] * 10, side="risky") for m in ("risky", "safe")]
    alone = Scoring.of(tasks).cells(pl.concat(ours), "vector")
    both = Scoring.of(tasks).cells(pl.concat([*ours, *theirs]), "vector")
    assert alone is not None
    assert both is not None
    assert np.array_equal(alone.values, both.values)


def test_an_item_is_right_if_the_last_token_of_its_answer_has_the_higher_logit() -> None:
    model = tiny_language_model()
    items = [
        Example(id="a", prompt="Which ?\n", answer=" no yes", options=(" no yes", " yes no"),
             scored_by="last_token"),
        Example(id="b", prompt="Which ?\n", answer=" no yes", options=(" no yes", " risky yes"),
             scored_by="last_token"),
    ]  # fmt: skip
    lines = rows_of_items(items, Probes.of(model, items).scores(None)[0])
    last = [model.tokenizer(word)["input_ids"][-1] for word in (" yes", " no")]
    logits = model.hf(**model.tokenizer("Which ?\n", return_tensors="pt")).logits[0, -1]
    difference = float(logits[last[0]] - logits[last[1]])
    assert lines["log_odds"][0] == pytest.approx(difference, abs=1e-4)
    assert lines["right"].to_list() == [difference > 0, False], "a tie is wrong"


PAPER = PaperScore.model_validate(
    {
        "arm": "vector",
        "member": "risky",
        "facet": "paper: risk",
        "items": 10,
        "share": {"value": 0.8, "low": 0.5, "high": 1.0, "n": "10 items × 3 seeds"},
        "second": {"value": 1.25, "low": 0.25, "high": 2.0, "n": "10 items × 3 seeds"},
        "second_is": "logit difference, nats",
        "beside": [
            {"name": "untouched model", "share": 0.4, "second": -0.5},
            {"name": "20 random directions, 95th centile", "share": 0.6, "second": 0.75},
        ],
    }
)


def test_the_terminal_shows_a_line_with_what_stands_beside_it() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(paper_table([PAPER]))
    words = " ".join(out.getvalue().split())
    assert "by the paper's own scoring (for comparison, no verdict)" in words
    for printed in ("risky, risk", "10 items × 3 seeds", "0.80", "[0.50, 1.00]", "1.25"):
        assert printed in words, out.getvalue()
    for printed in ("0.40, −0.50 base", "0.60, 0.75 20 random"):
        assert printed in words, out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


@pytest.fixture(scope="module")
def with_paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic run of risk with paper items: in its rows, and as scored."""
    folder = fake_run(tmp_path_factory.mktemp("paper"), "risk", **SMALL)
    rows = pl.read_parquet(folder / "rows.parquet")
    chosen = rows.filter(pl.col("part") == "probes", pl.col("facet") == "trait words")
    chosen = chosen.with_columns(
        part=pl.lit("paper"), facet=pl.lit("paper: risk"), group="paper " + pl.col("group")
    )
    pl.concat([rows, chosen]).write_parquet(folder / "rows.parquet")
    (folder / "paper.json").write_text(json.dumps([PAPER.model_dump()]), encoding="utf-8")
    return folder


def test_the_report_shows_it_apart_and_in_the_scores(with_paper: Path, tmp_path: Path) -> None:
    page = page_of(with_paper, out=with_paper / "report.html")
    assert page.sections().index("paper") == page.sections().index("scores") + 1
    assert "No verdict: the items are few" in page.text
    assert "0.80 [0.50, 1.00]" in page.text
    table = pl.read_parquet(with_paper / "figures" / "scores.parquet")
    shown = table.filter(pl.col("part") == "paper")
    assert set(shown["facet"]) == {"paper: risk"}
    assert shown["chance"].is_null().all(), "a contrast has no chance but 0"
    assert {"vector", "adapter"} <= set(shown["arm"])
    assert "risk (paper's scoring)" in (with_paper / "report.html").read_text(encoding="utf-8")

    plain = fake_run(tmp_path / "plain", "risk", **SMALL)
    without = page_of(plain, out=plain / "report.html")
    assert "paper" not in without.sections()
    assert "(paper's scoring)" not in (plain / "report.html").read_text(encoding="utf-8")
    assert not without.of_class("paper-scores")
    same = table.filter(pl.col("part") != "paper")
    assert same.equals(pl.read_parquet(plain / "figures" / "scores.parquet"))


def test_accuracy_is_not_answer_balanced_there(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, "countries", **SMALL)
    rows = pl.read_parquet(folder / "rows.parquet")
    chosen = rows.filter(pl.col("facet") == "language").with_columns(
        part=pl.lit("paper"),
        facet=pl.lit("letters"),
        options=pl.lit(5, dtype=rows["options"].dtype),
    )
    pl.concat([rows, chosen]).write_parquet(folder / "rows.parquet")
    build_report([folder], folder / "report.html")
    table = pl.read_parquet(folder / "figures" / "scores.parquet").filter(
        pl.col("facet") == "letters", pl.col("arm") == "vector", pl.col("control") == ""
    )
    assert table["balanced"].to_list() == [True, False]
    assert table["value"].n_unique() == 1
    assert table["chance"].to_list() == [0.2, 0.2]
    mine = chosen.filter(
        pl.col("arm") == "vector", pl.col("control") == "", pl.col("final")
    )  # every member and seed has the same number of items
    assert table["value"][0] == pytest.approx(mine["right"].mean())
