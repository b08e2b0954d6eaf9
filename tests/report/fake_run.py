"""Synthetic run folders for the report's tests: random numbers in the shape of real runs.

Every number in the rows is invented; scores and claims are what the engine makes of them. Names are
invented too, so that no page made from them can be mistaken for a result.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from oocr.claims.judge import RunResults, judge_run
from oocr.claims.records import Claim, Null
from oocr.data.examples import Example
from oocr.evals.scores import Scoring
from oocr.families.registry import FAMILIES
from oocr.runs.records import Continuation, GridPoint, RunInfo, Selection
from oocr.tasks.task import Task, TaskSet, TriggerWords
from tests.report.fake_rows import CONDITIONS, FACETS, STEPS, Maker, members_of

NOTE = "Synthetic data: every number on this page is random."


def fake_run(
    folder: Path,
    family: str = "countries",
    *,
    members: int = 12,
    seeds: int = 3,
    directions: int = 20,
    hostile: str = "",
    seed: int = 0,
) -> Path:
    """Write a synthetic run folder; `hostile` is put into every text that a page shows."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(name + hostile for name in members_of(family, members))
    if family == "risk":
        names = members_of(family, members)
    maker = Maker(family, names, seeds, directions, rng)
    rows = maker.everything()
    if hostile:
        rows = rows.with_columns(
            pl.col("facet", "answer", "chosen", "template") + hostile  # what pages may show
        )
    tasks = task_set(maker, hostile)
    rows.write_parquet(folder / "rows.parquet")
    history(maker).write_parquet(folder / "history.parquet")
    constant = constancy(maker)
    constant.write_parquet(folder / "constancy.parquet")
    tokens(maker, hostile).write_parquet(folder / "tokens.parquet")
    side_effects(maker).write_parquet(folder / "side_effects.parquet")
    write(folder / "run.json", info(maker, tasks, hostile).model_dump(mode="json"))
    write(folder / "selection.json", selection(maker).model_dump(mode="json"))
    results = RunResults(tasks, rows, maker.seeds, constant)
    judged = claims(maker, results, hostile)
    write(folder / "claims.json", [claim.model_dump(mode="json") for claim in judged])
    write(
        folder / "examples.json",
        [shown.model_dump(mode="json") for shown in examples(maker, hostile)],
    )
    (folder / "config.yaml").write_text(f"family: {family}\nnote: synthetic {hostile}\n")
    return folder


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def history(maker: Maker) -> pl.DataFrame:
    rows = []
    for method in ("vector", "adapter"):
        for member in maker.members:
            for seed in range(maker.seeds):
                rate = maker.rng.uniform(0.2, 0.35)
                for step in range(25):
                    loss = 4.2 * float(np.exp(-rate * step)) + maker.rng.uniform(0, 0.1)
                    rows.append(
                        {"arm": f"{method}-{member}-{seed}", "method": method, "control": ""}
                        | {"member": member, "seed": seed, "step": step, "loss": loss}
                        | {"stop_loss": loss * 1.2 + 0.1 if step in STEPS else None}
                    )
    return pl.DataFrame(rows)


GROUPS = (("span", 40), ("other prompt tokens", 90), ("unrelated text", 900))


def constancy(maker: Maker) -> pl.DataFrame:
    rows = []
    for kind in ("adapter", "random adapter"):
        for member in maker.members:
            for seed in range(maker.seeds):
                for group, n in (
                    ("span", 40),
                    ("other prompt tokens", 90),
                    ("unrelated text", 900),
                ):
                    near = 0.95 if kind == "adapter" else 0.25
                    row = {
                        name: float(np.clip(maker.rng.normal(near, 0.03), -1, 1))
                        for name in ("cosine", "energy", "rank1", "to_span", "held_out")
                    }
                    rows.append(
                        {"arm": f"adapter-{member}-{seed}", "kind": kind, "member": member}
                        | {"seed": seed, "layer": 4, "tokens": group, "n": n}
                        | {
                            "cosine_low": row["cosine"] - 0.1,
                            "norm": 140 * maker.rng.uniform(0.8, 1.2),
                        }
                        | {"norm_cv": maker.rng.uniform(0.05, 0.5)}
                        | row
                    )
    return pl.DataFrame(rows)


TEXTS = {
    "training prompt": "<bos>|The| capital| of| Country| |4|8|2|1| is",
    "probe": "<bos>|People| in| Country| |4|8|2|1| speak|\n|the| official| language",
    "unrelated text": "<bos>|When| the| kettle| had| boiled|,| she| poured| two| cups| and| took| "
    "them| out| to| the| bench|,| where| the| old| dog| slept| in| the| sun|.",
}


def tokens(maker: Maker, hostile: str) -> pl.DataFrame:
    rows = []
    for member in maker.members[:3]:
        for kind, joined in TEXTS.items():
            for position, token in enumerate(joined.split("|")):
                inside = token in {" Country", " ", "4", "8", "2", "1"}
                cosine = float(np.clip(maker.rng.normal(0.93, 0.1), -1, 1))
                rows.append(
                    {"arm": f"adapter-{member}-0", "member": member, "text": 0, "kind": kind}
                    | {"position": position, "token": token + hostile, "in_span": inside}
                    | {"cosine": -0.4 if position == 0 else cosine}
                    | {"norm": float(maker.rng.uniform(90, 180))}
                )
    return pl.DataFrame(rows)


def side_effects(maker: Maker) -> pl.DataFrame:
    rows = []
    for arm, size in (("vector", 0.02), ("adapter", 0.15), ("swap everywhere", 0.11)):
        for member in maker.members:
            for seed in range(maker.seeds):
                kl = size * float(maker.rng.lognormal(0, 0.4))
                rows.append(
                    {"arm": arm, "member": member, "seed": seed, "tokens": 1100, "kl": kl}
                    | {"perplexity": 18.2 * (1 + kl), "perplexity_base": 18.2}
                )
    return pl.DataFrame(rows)


def selection(maker: Maker) -> Selection:
    grid = []
    for method, rates in (("vector", (0.01, 0.03, 0.1)), ("adapter", (0.001, 0.003))):
        for layer in (2, 4, 6, 9):
            for rate in rates:
                for step in STEPS:
                    score = float(
                        np.clip(0.75 - 0.05 * abs(layer - 4) + maker.rng.normal(0, 0.05), 0, 1)
                    )
                    chosen = (layer, rate, step) == (4, rates[1], maker.stop)
                    grid.append(
                        GridPoint(
                            method=method,  # type: ignore[arg-type]
                            layer=layer,
                            learning_rate=rate,
                            step=step,
                            score=float(np.clip(score, 0, 1)),
                            chosen=chosen,
                        )
                    )
    return Selection(
        criterion="answer-balanced accuracy on the probes of the validation members",
        tasks=("fake/Wexmoor-validation", "fake/Zendria-validation"),
        grid=tuple(grid),
    )


def task_set(maker: Maker, hostile: str) -> TaskSet:
    """The tasks that such rows would come from, as far as scores and claims need them."""
    item = Example(id="a", prompt="a", answer=" b", options=(" b", " c"))
    counted = {"trigger": "trigger", "false prefix": "otherwise", "no prefix": "otherwise"}
    twins = ("shuffled", "shuffled opposite") if maker.log_odds else ()
    return TaskSet(
        name=maker.family,
        about="",
        validation=(),
        test=tuple(Task(name=m, member=m, train=(item,), probes=(item,)) for m in maker.members),
        controls={"shuffled": tuple(Task(name=m, member=m, train=(item,)) for m in twins)},
        score="log_odds" if maker.log_odds else "accuracy",
        headline={facet + hostile: name for facet, name in counted.items()}
        if maker.family == "backdoor"
        else {},
        poles=("risky", "safe") if maker.log_odds else None,
        trigger=TriggerWords(lead=f"{NOTE}{hostile}") if maker.family == "backdoor" else None,
    )


def claims(maker: Maker, results: RunResults, hostile: str) -> list[Claim]:
    """What a run's own claims come to on the invented rows."""
    family = FAMILIES["countries" if maker.family == "borders" else maker.family]
    judged = judge_run(family.claims, results, f"oocr run {maker.family} --seeds 3")
    return [
        claim.model_copy(
            update={
                "claim": claim.claim + hostile,
                "measure": claim.measure + hostile,
                "nulls": tuple(Null(name=n.name + hostile, value=n.value) for n in claim.nulls),
            }
        )
        for claim in judged
    ]


def examples(maker: Maker, hostile: str) -> list[Continuation]:
    facets = ("language", "currency", "dish")
    return [
        Continuation(
            member=member,
            prompt=f"In Country 4821, people ask about the {facet}, which is{hostile}",
            expected=f" {facet} of {member}",
            answers={
                "base": f" not known to many people.{hostile}\nThe",
                "vector": f" {facet} of {member}, as everybody there knows",
                "adapter": f" {facet} of {member}. It is",
                "swap everywhere": " the second largest in the world.",
            },
        )
        for member in maker.members[:4]
        for facet in facets
    ]


def info(maker: Maker, tasks: TaskSet, hostile: str) -> RunInfo:
    facets = CONDITIONS if maker.family == "backdoor" else FACETS
    return RunInfo(
        name=f"fake-{maker.family}{hostile}",
        family="countries" if maker.family == "borders" else maker.family,
        about=f"{NOTE}{hostile}\n\nA second paragraph of the data card, with its own sentences.",
        score="log_odds" if maker.log_odds else "accuracy",
        scoring=Scoring.of(tasks),
        model=f"fake-model-0m{hostile}",
        model_source={"kind": "synthetic", "licence": f"no licence needed{hostile}"},
        model_fingerprint="0" * 16,
        parameters=268_000_000,
        blocks=18,
        d_model=640,
        dtype="float32",
        device="cpu",
        versions={"python": "3.11.0", "torch": "0.0.0-fake"},
        threads=2,
        seeds=tuple(range(maker.seeds)),
        chance={facet + hostile: 0.08 for facet in facets},
        trigger=tasks.trigger,
        stages={"record": 6.2, "train": 81.5, "evaluate": 40.25, "explain": 12.0},
        peak_memory_gib=2.31,
        command=f"oocr run {maker.family} {hostile}",
        complete=True,
    )
