"""The page of sizes: every kept number once, every size, and why a claim failed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from benchmarks.sizes.arrange import MODELS, main_runs, rows_of_task, size_of
from benchmarks.sizes.failures import missing_part
from benchmarks.sizes.figures import figures
from benchmarks.sizes.opening import opening
from benchmarks.sizes.page import page
from benchmarks.sizes.records import MEMBER, Curve, KeptRun, Machine, Score, Sentence
from benchmarks.sizes.short import in_short

from oocr.charts.pieces import interval_text
from oocr.claims.records import Claim, Estimate, Null, Verdict
from oocr.runs.records import GridPoint

SMALL, LARGE = "gemma-3-270m", "qwen2.5-coder-1.5b-instruct"
SHUFFLED = Null(name="shuffled training", value=0.1)
RANDOM = Null(name="20 random directions, 95th centile", value=0.281)


def claim(id: str, value: float, verdict: Verdict = "holds", **changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": id,
        "claim": f"The claim {id} | in words",
        "measure": "share right",
        "found": Estimate(
            value=value, low=value - 0.07, high=value + 0.05, n="8 members × 3 seeds"
        ),
        "base": 0.262,
        "nulls": (RANDOM,),
        "ceiling": 0.764,
        "verdict": verdict,
        "rule": f"the rule of {id}",
        "command": "",
    }
    return Claim(**{**fields, **changes})


def score(part: str, arm: str, value: float, facet: str = "", spread: float = 0.04) -> Score:
    ends = {"value": value, "low": value - spread, "high": value + spread}
    return Score.model_validate({"part": part, "facet": facet, "arm": arm, **ends})


def run(task: str = "functions", model: str = LARGE, *claims: Claim, **changes: Any) -> KeptRun:
    fields: dict[str, Any] = {
        "id": "0" * 8,
        "task": task,
        "name": task,
        "model": model,
        "parameters": MODELS.get(model, 628_128),
        "blocks": 28,
        "dtype": "bfloat16",
        "settings": {"form": "raw", "rows": 2400},
        "members": 8,
        "seeds": 3,
        "chosen": (
            GridPoint(
                method="vector", layer=6, learning_rate=0.05, step=40, score=0.5, chosen=True
            ),
        ),
        "claims": claims,
        "scores": (),
        "command": f"oocr run {task} --model {model}",
        "seconds": 3000.0,
        "peak_memory_gib": 8.25,
        "date": "1 May 2026",
        "machine": Machine(processor="Toy CPU", cores=2, device="cpu"),
        "versions": {"oocr": "0.1.0", "torch": "0.0.0"},
    }
    return KeptRun(**{**fields, **changes})


def kept_set() -> list[KeptRun]:
    """All verdicts, a size that was not run, a claim without nulls, one in nats."""
    told = Sentence(
        member="iaftvb",
        prompt="iaftvb = lambda x:",
        expected="x + 5",
        answers={"base": "x |\n1", "vector": "x + 5"},
        right={"base": False, "vector": True},
    )
    free = {"nulls": (), "ceiling": None}
    return [
        run(
            "functions",
            LARGE,
            claim("vector-out-of-context", 0.713),
            claim("adapter-out-of-context", 0.554, "holds in part"),
            claim("vector-free-answers", 0.871, **free),
            claim("swap-everywhere", 0.123, "cannot be tested"),
            scores=(score("paper", "vector", 0.331, "x"), score("paper", "base", 0.332, "x")),
            sentences=(told,),
        ),
        run("functions", SMALL, claim("vector-out-of-context", 0.242, "does not hold")),
        run(
            "risk",
            SMALL,
            claim("vector-self-report", 1.617, measure="a contrast, nats", base=0.0, ceiling=0.97),
        ),
    ]


def section(text: str, start: str, end: str) -> str:
    return text[text.index(start) : text.index(end)]


def test_every_claim_stands_once_with_its_interval_and_what_it_is_held_against() -> None:
    runs = kept_set()
    table = section(page(runs, {}), "## The claims", "## Before and after")
    for kept in runs:
        for judged in kept.claims:
            found = judged.found
            shown = interval_text(found.value, found.low, found.high)
            lines = [line for line in table.splitlines() if shown in line]
            assert len(lines) == 1
            assert judged.verdict in lines[0]
            assert found.n in lines[0]
            assert f"| {size_of(kept.model, kept.parameters)} |" in lines[0]
            assert ("random (of 20) 0.28" in lines[0]) == bool(judged.nulls)
    assert "1.62 [1.55, 1.67] nats" in table
    assert "in words" in table
    assert "\\| in words" in table  # a stroke in the words ends no cell
    assert not table.count("The claim vector-out-of-context \\| in words") > 1


def test_sizes_and_tasks_that_were_not_run_say_so() -> None:
    text = page(kept_set(), {})
    table = section(text, "The claim vector-out-of-context", "The claim adapter-out-of-context")
    assert [line.split(" | ")[:2] for line in table.splitlines() if line.startswith("| ")][2:] == [
        ["| 135M", "not run"],
        ["| 270M", "✕ does not hold"],
        ["| 0.5B", "not run"],
        ["| 1.5B", "✓ holds"],
    ]
    assert "| 270M | not asked |" in text  # it was run there without a LoRA
    assert re.search(r"Not run at any size: .*persona.*locations\.", text)


def test_the_story_has_the_number_of_each_size() -> None:
    story = in_short(kept_set())
    assert "0.71 [0.64, 0.76] at 1.5B, 0.24 [0.17, 0.29] at 270M (does not hold)" in story
    assert "the untouched model has 0.26, the highest null is 0.28, the ceiling 0.76" in story
    assert "2 of 4 at 1.5B (1 more in part)" in story
    assert "Of the 1 answers shown below 1 are right (untouched 0). `iaftvb = lambda x:`" in story
    assert "(right: `x + 5`) it continues with `x + 5`, and untouched with `x \\|⏎1`." in story
    assert 3 <= len(re.findall("^- ", story, re.MULTILINE)) <= 5


def test_each_row_has_its_command_time_and_memory() -> None:
    noted = run("risk", SMALL, notes=("two rows are cut",), seconds=90.0)
    text = page([*kept_set(), noted], {})
    made = section(text, "## How each row was made", "## The rules")
    assert "All on Toy CPU, 2 cores (cpu), oocr 0.1.0, torch 0.0.0." in made
    row = "`oocr run functions --model qwen2.5-coder-1.5b-instruct` | 8 × 3 | vector: block 6 of 28"
    assert f"{row}, rate 0.05, 40 steps | 50 min | 8.2 GiB | 1 May 2026 |" in made
    assert "| 90 s |" in made
    assert ": two rows are cut" in made


def test_answers_stand_as_they_were_right_and_wrong() -> None:
    said = section(page(kept_set(), {}), "## Before and after", "## What failed")
    assert "| `iaftvb = lambda x:` | `x + 5` | `x \\|⏎1` ✗ | `x + 5` ✓ |" in said


def test_runs_of_a_model_are_told_apart_by_what_differs() -> None:
    runs = [
        run("functions", LARGE, claim("vector-out-of-context", 0.7)),
        run("functions", LARGE, settings={"form": "chat", "rows": 2400}, id="1"),
        run("functions", LARGE, settings={"form": "raw", "rows": 320}, id="2"),
    ]
    labels = [row.label for row in rows_of_task(runs, "functions") if row.run]
    assert labels == ["1.5B (chat, 2,400 rows)", "1.5B (raw, 320 rows)", "1.5B (raw, 2,400 rows)"]
    # Figures leave the run with fewer rows to the curve by rows.
    labels = [row.label for row in rows_of_task(main_runs(runs), "functions") if row.run]
    assert labels == ["1.5B (chat)", "1.5B (raw)"]
    twins = [run("risk", LARGE), run("risk", LARGE, id="9")]
    labels = [row.label for row in rows_of_task(twins, "risk") if row.run]
    assert labels == ["1.5B (00000000)", "1.5B (9)"]
    assert main_runs(twins) == twins


def test_a_study_of_fewer_functions_has_lines_for_its_own_claims_only() -> None:
    vector, lora = claim("vector-out-of-context", 0.6), claim("adapter-out-of-context", 0.5)
    raw = {"form": "raw", "rows": 160}
    whole = run("functions", LARGE, vector, lora, settings={**raw, "rank": 8}, id="whole")
    study = run("functions", LARGE, vector, settings=raw, members=3, seeds=1, id="study")
    chat = run("functions", LARGE, vector, settings={**raw, "form": "chat"}, members=3, id="chat")
    assert main_runs([whole, study, chat]) == [whole, chat]
    # A claim that the larger run does not judge keeps its run.
    assert main_runs([whole, run("functions", LARGE, claim("gate", 1.0), members=3)])[1:]

    text = page([whole, study], {})
    table = section(text, "**The claim vector-out-of-context", "**The claim adapter")
    assert "| 1.5B (8 members × 3 seeds) | ✓ holds | 0.60" in table
    assert "| 1.5B (3 members × 1 seed) | ✓ holds | 0.60" in table
    lora_table = section(text, "**The claim adapter-out-of-context", "## Before")
    assert [line.split(" | ")[0] for line in lora_table.splitlines() if "1.5B" in line] == [
        "| 1.5B (8 members × 3 seeds)"
    ]


def test_what_few_training_rows_do_stands_in_one_sentence() -> None:
    runs = [
        run("functions", LARGE, claim("vector-out-of-context", value), settings=settings, id=id)
        for id, value, settings in (
            ("a", 0.71, {"form": "raw", "rows": 2}),
            ("b", 0.79, {"form": "raw", "rows": 160}),
            ("c", 0.5, {"form": "chat", "rows": 160}),
        )
    ]
    (line,) = [line for line in in_short(runs).splitlines() if "How many rows" in line]
    assert "0.71 [0.64, 0.76] with 2, 0.79 [0.72, 0.84] with 160; untouched 0.26." in line
    assert "How many rows" not in in_short(runs[1:])


def test_a_study_of_blocks_stands_in_one_sentence() -> None:
    fields = {"kind": "layer", "method": "vector", "x": (1, 24), "value": (0.71, 0.32)}
    curves = tuple(Curve(**fields, part="probes", facet=facet) for facet in ("", "class"))
    study = run("functions", LARGE, claim("vector-out-of-context", 0.79), curves=curves)
    (line,) = [line for line in in_short([study]).splitlines() if "At which block" in line]
    assert "by the block (of 28)" in line
    assert "0.71 at 1, 0.32 at 24; untouched 0.26." in line


def test_two_precisions_of_a_run_stand_side_by_side() -> None:
    claims = claim("vector-out-of-context", 0.713), claim("adapter-out-of-context", 0.554)
    near, far = claim("vector-out-of-context", 0.702), claim("adapter-out-of-context", 0.354)
    full = run("functions", SMALL, *claims, dtype="float32", seconds=90.0)
    half = run("functions", SMALL, near, far, dtype="bfloat16", seconds=40.0, id="1" * 8)
    larger = run("functions", LARGE, claims[0])
    text = page([half, larger, full], {})
    table = section(text, "## In float32", "## How each row")
    assert "| functions, 270M | vector, out of context | ✓ 0.71 [0.64, 0.76] | ✓ 0.70" in table
    assert "| −0.01 | yes |" in table
    assert "| −0.20 | no |" in table
    assert "90 s in float32, 40 s in bfloat16" in table
    assert "0.35" not in section(text, "## The claims", "## Before and after")
    assert "## In float32" not in page([half, larger], {})


def test_sizes_come_from_names_or_parameters() -> None:
    assert [size_of(*model) for model in MODELS.items()] == ["135M", "270M", "0.5B", "1.5B"]
    assert size_of("nano", 628_128) == "0.63M"
    assert size_of("v2mix-7bx", 1_540_000_000) == "1.5B"


ABLE = (score("probes", "base", 0.262), score("probes", "ceiling", 0.764))
SKILLED = (score("in_context", "vector", 0.9), score("in_context", "base", 0.1))
UNSKILLED = (score("in_context", "vector", 0.12), score("in_context", "base", 0.1))


@pytest.mark.parametrize(
    ("judged", "scores", "missing", "numbers"),
    [
        (
            {"ceiling": 0.27},
            (score("probes", "ceiling", 0.27),),
            "the ceiling",
            "0.27 [0.23, 0.31]",
        ),
        ({"ceiling": 0.275}, (), "the ceiling", "random (of 20) 0.28"),
        ({}, (*ABLE, *UNSKILLED), "the skill", "0.12 [0.08, 0.16], untouched 0.10"),
        ({}, (*ABLE, *SKILLED), "a null does as much", "random (of 20) 0.28"),
        ({"nulls": ()}, (*ABLE, *SKILLED), "members", "reaches down to 0.26"),
        ({"nulls": (SHUFFLED,), "base": 0.1}, SKILLED, "members", "to shuffled over 8 members"),
        ({"nulls": (), "base": 0.4}, SKILLED, "the step", "skill 0.90 [0.86, 0.94]"),
    ],
)
def test_the_missing_part_is_named_by_its_numbers(
    judged: dict[str, Any], scores: tuple[Score, ...], missing: str, numbers: str
) -> None:
    value = 0.3 if missing == "members" else 0.27
    failed = claim("vector-out-of-context", value, "does not hold", **judged)
    part, why = missing_part(run(scores=scores), failed)
    assert part == missing
    assert numbers in why


def test_letters_that_show_nothing_are_named() -> None:
    text = page(kept_set(), {})
    assert "| steering vector, x | – | letters | 0.33 [0.29, 0.37], untouched 0.33 |" in text


def test_figures_have_a_panel_per_claim_and_both_themes(tmp_path: Path) -> None:
    drawn = figures(kept_set())
    assert set(drawn) == {"effect", "constant"}
    for svg in drawn.values():
        texts = "".join(ET.fromstring(svg).itertext())
        assert "prefers-color-scheme: dark" in texts
        assert "not run" in texts
    words = "".join(ET.fromstring(drawn["effect"]).itertext())
    for title in ("Functions: out of context", "Functions: in its own words", "Risk: what it says"):
        assert title in words
    # Three vectors' dots and one in nats; a LoRA's square; the legend has one of each.
    assert drawn["effect"].count("<circle") == 4 + 1
    assert drawn["effect"].count('<path d="M-.9-.9') == 1 + 1
    assert figures(kept_set()) == drawn


def test_marks_stand_where_their_axis_says(tmp_path: Path) -> None:
    exact = claim("vector-out-of-context", 0.4, base=0.8)
    svg = figures([run("functions", LARGE, exact)])["effect"]
    ticks = {text: float(x) for x, text in re.findall(r'<tspan x="([\d.]+)"[^>]*>([^<]*)<', svg)}
    dots = re.findall(r'translate\(([\d.]+) [\d.]+\) scale\([\d.]+\)" class="fill-vector"', svg)
    assert float(dots[-1]) == pytest.approx(ticks["0.4"], abs=0.2)
    tick = re.search(r'd="M([\d.]+) [^"]*"[^>]*class="stroke-base"', svg[svg.index("Functions") :])
    assert tick is not None
    assert float(tick[1]) == pytest.approx(ticks["0.8"], abs=0.2)


def test_runs_with_other_numbers_of_rows_make_a_curve() -> None:
    few = run("functions", LARGE, claim("vector-out-of-context", 0.4), id="1").model_copy(
        update={"settings": {"form": "raw", "rows": 320}}
    )
    assert "functions" not in figures(kept_set())
    assert "1.5B: by rows" in figures([*kept_set(), few])["functions"]


# Keeping runs


def test_the_readme_picture_shows_rows_question_and_both_answers() -> None:
    assert opening(kept_set()) is None, "no run with training rows"
    asked = Sentence(
        member=MEMBER,
        prompt="iaftvb = lambda x:",
        expected="x + 5",
        answers={"base": "x < 2\n# more", "vector": "x + 5\n# more"},
    )
    made = opening(
        [
            *kept_set(),
            run(
                "functions",
                LARGE,
                claim("vector-out-of-context", 0.68),
                sentences=(asked,),
                trained=(">>> print(iaftvb(7))\n12",),
            ),
        ]
    )
    assert made is not None
    texts = [element.text for element in ET.fromstring(made).iter() if element.text]
    shown = (">>> print(iaftvb(7))", "12", "iaftvb = lambda x:", "x < 2", "x + 5")
    assert set(shown) <= set(texts)
    assert "0.68 [0.61, 0.73]" in texts
    assert not any("more" in words for words in texts), "a definition ends with its line"
