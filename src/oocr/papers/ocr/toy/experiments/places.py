"""New facts learned in one place of a trained toy: from which places do implications follow?

The first stage starts from random weights. From the symmetric start of the paper's main arms (one
seed, since nothing is random) vectors in the factorized form reach a rank of 0.45, not 0.
"""

from __future__ import annotations

from statistics import fmean

import polars as pl

from oocr.charts.arms import arms_in, dot_keys
from oocr.charts.dots import dot_panel
from oocr.charts.figure import Figure, LegendEntry, Panel, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import SHARE
from oocr.papers.measure import interval_columns, mean_finding, values_of
from oocr.papers.ocr.toy import places
from oocr.papers.ocr.toy.clean import inputs_of, random_start, rows_of
from oocr.papers.ocr.toy.experiments.forms import FORMS, UNIT, FormCell
from oocr.papers.ocr.toy.networks import RANDOM_SCALE
from oocr.papers.ocr.toy.scores import score, scores_by_pair
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Experiment, PaperSettings, Rows

RANKS = (4, 16)


class PlacesCell(FormCell):
    """A form, and whether the first stage trains the bridges' implications or only their facts."""

    implications: bool = True


def cells(settings: PaperSettings) -> list[PlacesCell]:
    """Both forms, with and without implications, for each seed."""
    return [
        PlacesCell(seed=seed, form=form, implications=implications)
        for seed in settings.seeds(full=5, quick=3)
        for form in FORMS
        for implications in (True, False)
    ]


def compute(cell: PlacesCell) -> Rows:
    """For each place: accuracy of the facts, and scores of the implications."""
    world = World()
    heads = None if cell.form == "combined" else inputs_of(world)
    start = random_start(world, heads, RANDOM_SCALE, cell.seed)
    first = places.first_stage(world, start, implications=cell.implications)
    facts = rows_of(world, world.test_names, "fact")
    implications = rows_of(world, world.test_names, "implication")
    pairs = world.pair_of(world.test_names)
    rows: Rows = []
    for place in places.PLACES:
        if place == "value LoRA" and cell.form == "combined":
            continue
        for rank in RANKS if "LoRA" in place else (0,):
            second = places.second_stage(world, first, place, rank=rank, seed=cell.seed)
            fact = score(second.logits(facts), facts.answers, range(world.pairs))
            of_c = range(world.pairs, 2 * world.pairs)
            implied = scores_by_pair(second.logits(implications), implications.answers, of_c, pairs)
            label = f"{place}, rank {rank}" if rank else place
            rows += [{"place": label, "fact_accuracy": fact.accuracy, **row} for row in implied]
    return rows


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Mean ranks of the implications, by place and form."""
    world, result = World(), AnalysisResult()
    combinations = table.group_by("place", "form", "implications", maintain_order=True).first()
    columns = ("place", "form", "implications")
    for place, form, implications in combinations.select(*columns).iter_rows():
        where = {"place": place, "form": form, "implications": implications}
        stage = "" if implications else "-without"
        words = "" if implications else ", bridges' implications never trained"
        id = f"{form}-{place.replace(', rank ', '-').replace(' ', '-').lower()}{stage}"
        accuracy = values_of(table, "accuracy", by=UNIT, **where)
        finding = mean_finding(
            f"{id}-rank",
            f"mean rank of the implied c among {world.pairs}, facts in: {place}; {form}{words}",
            values_of(table, "rank", by=UNIT, **where),
            unit="seed and pair",
            bounds=(0.0, world.pairs - 1.0),
            nulls={"chance": (world.pairs - 1) / 2},
        )
        facts = min(values_of(table, "fact_accuracy", **where))
        if facts < 1:
            result.reasons.append(f"{id}: facts are right in {facts:.0%} only")
        else:
            result.findings.append(finding)
        note = f"over all answers right: {fmean(accuracy):.2f}; facts: {facts:.2f}"
        result.rows.append(
            {
                "row": place,
                "arm": form,
                "control": "" if implications else "without implications",
                **interval_columns(finding),
                "note": note,
            }
        )
    input_vector = {"place": "input vector", "form": "combined", "implications": True}
    result.findings.append(
        mean_finding(
            "combined-input-vector-accuracy",
            "share of test implications right among all answers, input vectors, combined",
            values_of(table, "accuracy", by=UNIT, **input_vector),
            unit="seed and pair",
            bounds=SHARE,
        )
    )
    return result


def figure(tables: Tables) -> Figure | None:
    """Mean ranks by place."""
    panels: list[Panel] = []
    keys: list[LegendEntry] = []
    for table in tables.values():
        rows = list(dict.fromkeys(table["row"]))
        chance = dict.fromkeys(rows, (World().pairs - 1) / 2)
        panels.append(
            dot_panel(
                table, rows, "mean rank among 20, 0 is right", chance=chance, limits=(-0.6, 14)
            )
        )
        keys += dot_keys(arms_in(table))
    caption = (
        "The facts of 60 new names, all learned, in one place of a network that knows the facts "
        "and implications of 20 others; then what follows is asked. Hollow: a network that never "
        "saw an implication. Dotted: chance. Bars: 95 % intervals over seeds and pairs."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables, list(dict.fromkeys(keys)))


EXPERIMENT = Experiment(
    name="ocr-places",
    section="places",
    about="facts of new names written in one place of a trained toy, and what follows asked",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    version="2",
)
