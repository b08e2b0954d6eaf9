"""Both forms of the network learn the same rows; which of them implies for test names?"""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import polars as pl

from oocr.charts.figure import Figure, Tables, figure_of
from oocr.charts.heat import map_panel
from oocr.charts.lines import Look, line_keys, lines_by, lines_panel
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import POSITIVE, SHARE
from oocr.papers.measure import mean_finding, values_of
from oocr.papers.ocr.toy.experiments.forms import FORMS, FormCell, both_forms, solution_gap
from oocr.papers.ocr.toy.max_margin import solution
from oocr.papers.ocr.toy.networks import effective
from oocr.papers.ocr.toy.scores import gaps
from oocr.papers.ocr.toy.training import REPEATS, STEPS, train_form
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Experiment, Rows

SCORED = (0, 25, 50, 75, *range(100, 500, 25), *range(500, STEPS, 100))
LOOKS: tuple[Look, ...] = (
    ("factorized", "two matrices, W_O W_V", "vector"),
    ("combined", "one matrix, W_OV", "adapter"),
)
SHOWN = 0
"""The seed whose maps are shown."""


LEARNED = 0.1
"""Rows count as learned below this loss, in nats."""


def compute(cell: FormCell) -> Rows:
    """Scores by step, attention by kind of token, gaps of W diag(s), and W diag(s) itself."""
    world = World()
    trained = train_form(world, cell.form, cell.seed, SCORED)
    weights, attention = effective(trained.parameters), trained.parameters["attention"]
    rows: Rows = [{"part": "curve", **row} for row in trained.curve]
    tokens = {"relation": range(2), "name": world.name_ids, "noise": world.noise_ids}
    tokens["end"] = range(world.end, world.end + 1)
    rows += [
        {"part": "attention", "what": kind, "value": float(attention[list(ids)].mean())}
        for kind, ids in tokens.items()
    ]
    measured = gaps(weights, world)
    rows += [
        {"part": "gap", "what": name, "value": value} for name, value in asdict(measured).items()
    ]
    rows.append({"part": "gap", "what": "c share", "value": measured.c_test / measured.c_bridge})
    if cell.seed == SHOWN:
        entries = weights[
            world.fact_answers.start : world.implied_answers.stop, list(world.name_ids)
        ]
        rows += [
            {"part": "map", "answer": answer, "name": name, "value": float(f"{value:.4g}")}
            for (answer, name), value in np.ndenumerate(entries)
        ]
    return rows


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Final scores of each form, the smallest loss of the combined form, gaps, and the delay."""
    world = World()
    chance = (world.pairs - 1) / 2
    last = table.filter(pl.col("part") == "curve", pl.col("step") == STEPS)
    per_seed = REPEATS * len(world.test_names)
    result = AnalysisResult(rows=table.filter(pl.col("part").is_in(["curve", "map"])).to_dicts())
    for form in FORMS:
        c_shares = values_of(table, "value", part="gap", what="c share", form=form)
        result.findings += [
            mean_finding(
                f"{form}-rank",
                f"mean rank of the implied c among {world.pairs}, test names, {form}",
                values_of(last, "rank", form=form),
                bounds=(0.0, world.pairs - 1.0),
                nulls={"chance": chance},
            ),
            mean_finding(
                f"{form}-accuracy",
                f"share of test implications right among all {world.tokens} tokens, {form}",
                values_of(last, "accuracy", form=form),
                bounds=SHARE,
                items=per_seed,
                nulls={"chance among the c's": 1 / world.pairs},
            ),
            mean_finding(
                f"{form}-loss",
                f"loss on test implications, nats, {form}",
                values_of(last, "loss", form=form),
                bounds=POSITIVE,
                nulls={"log 20": math.log(world.pairs)},
            ),
            mean_finding(
                f"{form}-train-loss",
                f"loss on what is trained, nats, {form}",
                values_of(last, "train_loss", form=form),
                bounds=POSITIVE,
            ),
            mean_finding(
                f"{form}-gap",
                f"on-pair minus off-pair weight to c, test names' over bridges', {form}",
                [round(share, 3) for share in c_shares],
                nulls={"max-margin solution": solution_gap(world, form)},
            ),
        ]
        seen = {
            kind: values_of(table, "value", part="attention", what=kind, form=form)
            for kind in ("noise", "name")
        }
        result.findings.append(
            mean_finding(
                f"{form}-noise",
                f"attention to a noise word over that to a name, {form}",
                [noise / name for noise, name in zip(seen["noise"], seen["name"], strict=True)],
                nulls={"at the start": 1.0},
            )
        )
    curve = table.filter(pl.col("part") == "curve", pl.col("form") == "combined")
    least = curve.group_by("seed").agg(pl.col("loss").min() - math.log(world.pairs))
    result.findings.append(
        mean_finding(
            "combined-above-guessing",
            "least loss on test implications at any step, minus log 20, nats, combined",
            values_of(least, "loss"),
        )
    )
    waits = (
        table.filter(pl.col("part") == "curve", pl.col("form") == "factorized")
        .group_by("seed")
        .agg(
            trained=pl.col("step").filter(pl.col("train_loss") < LEARNED).min(),
            asked=pl.col("step").filter(pl.col("loss") < LEARNED).min(),
        )
        .with_columns(wait=pl.col("asked").fill_null(STEPS) / pl.col("trained"))
    )
    result.findings.append(
        mean_finding(
            "delay",
            f"steps until the loss on test implications is below {LEARNED:g} (or the end), over "
            "those until what is trained is, factorized",
            values_of(waits, "wait"),
            bounds=POSITIVE,
        )
    )
    return result


def figures(tables: Tables) -> list[Figure | None]:
    """Losses by step; maps of W diag(s)."""
    (table,) = tables.values()
    return [_losses(table.filter(pl.col("part") == "curve")), _maps(table)]


def _losses(table: pl.DataFrame) -> Figure | None:
    world = World()
    titles = {"train_loss": "what is trained", "loss": "test names: what follows"}
    panels = [
        lines_panel(
            lines_by(table, "form", LOOKS, "step", column),
            "step",
            "loss, nats",
            title=title,
            level=math.log(world.pairs),
            log_up=True,
        )
        for column, title in titles.items()
    ]
    caption = (
        f"Cross-entropy over all {world.tokens} tokens, mean over seeds. Grey: log 20, the loss of "
        "guessing among the c's."
    )
    data = table.select("form", "seed", "step", "train_loss", "loss", "accuracy", "rank")
    return figure_of("ocr-losses", caption, panels, data, line_keys(LOOKS))


def _maps(table: pl.DataFrame) -> Figure | None:
    world = World()
    data = table.filter(pl.col("part") == "map").select("form", "answer", "name", "value")
    tests = world.test_names
    by_pair = tests[np.argsort(world.pair_of(tests), kind="stable")]
    order = np.concatenate([world.bridge_names, by_pair])
    shape = (2 * world.pairs, world.names)
    maps: list[tuple[str, np.ndarray]] = []
    for form, words, _ in LOOKS:
        rows = data.filter(pl.col("form") == form).sort("answer", "name")
        maps.append((f"trained: {words}", rows["value"].to_numpy().reshape(shape)))
    for form, norm in zip(FORMS, ("nuclear", "Frobenius"), strict=True):
        ideal = solution(world, solution_gap(world, form))[:, 2:]
        maps.append((f"max-margin: least {norm} norm", ideal))
    answers = [("b: facts", world.pairs), ("c: implied", world.pairs)]
    names = [
        (f"{len(world.bridge_names)} bridge names", len(world.bridge_names)),
        (f"{len(world.test_names)} test names, by pair", len(world.test_names)),
    ]
    panels = [
        map_panel(
            _centred(values, world.pairs)[:, order].tolist(),
            answers,
            names,
            most=float(np.abs(_centred(values, world.pairs)).max()),
            title=title,
        )
        for title, values in maps
    ]
    caption = (
        "What a name adds to the logits of the answers (W diag(s), seed 0, minus the mean of each "
        "kind of answer). The c's of test names, which are never trained, are at the lower right: "
        "two matrices write them, one matrix leaves them at nothing."
    )
    return figure_of("ocr-maps", caption, panels, data)


def _centred(values: np.ndarray, pairs: int) -> np.ndarray:
    kinds = values.reshape(2, pairs, -1)
    centred: np.ndarray = (kinds - kinds.mean(axis=1, keepdims=True)).reshape(values.shape)
    return centred


EXPERIMENT = Experiment(
    name="ocr-learning",
    section="learning",
    about="facts and implications with noise words, trained in both forms of one network",
    cells=both_forms,
    compute=compute,
    analyse=analyse,
    figure=figures,
    version="2",
)
