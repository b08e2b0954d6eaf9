"""From a finished run folder to what is kept of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.machine import describe
from benchmarks.sizes.curves import curves
from benchmarks.sizes.records import (
    MEMBER,
    KeptRun,
    Machine,
    Part,
    Score,
    Setting,
    rounded,
)
from benchmarks.sizes.sentences import first_rows, sentences
from oocr import stats
from oocr.claims.judge import RunResults, judge_run
from oocr.claims.records import Claim
from oocr.errors import InputError
from oocr.evals.scores import FREE, select_rows
from oocr.families.registry import family_of
from oocr.intervals import Interval
from oocr.io import command_line, write_text
from oocr.runs.config import RunConfig
from oocr.runs.folder import RunFolder, run_folder
from oocr.runs.resolve import tasks_of

_ARMS = ("base", "ceiling", "vector", "adapter")
_PARTS: tuple[Part, ...] = ("in_context", "probes", "free_in_context", "free")
_NAMED = ("part", "trait")
"""Settings that name a task within its family."""

_VERSIONS = ("python", "oocr", "torch", "transformers")


def keep(folder: Path, results: Path) -> Path:
    """Write the small file of a finished run; its name has the task, the model and a hash.

    Raises:
        InputError: not the folder of a finished run.
    """
    kept = kept_run(RunFolder(folder))
    words = re.sub(r"[^a-z0-9.]+", "-", f"{kept.task}-{kept.model}".lower()).strip("-")
    return write_text(results / f"{words}-{kept.id}.json", _text(kept))


def kept_run(run: RunFolder) -> KeptRun:
    """What is kept of a finished run.

    Raises:
        InputError: not the folder of a finished run.
    """
    info = run.info
    if not (info.complete and run.claims and run.selection is not None and run.rows is not None):
        again = command_line(["oocr", "run", run.folder / "config.yaml"])
        raise InputError(f"{run.folder}: the run is not finished; `{again}` goes on with it")
    config = run.config
    machine = describe(info.threads)
    tested = select_rows(run.rows, "base")["member"]
    return KeptRun(
        id=run_folder(config, Path()).name.removeprefix(f"{config.name}-"),
        task=_task(config),
        name=info.name,
        model=Path(info.model).name,
        parameters=info.parameters,
        blocks=info.blocks,
        dtype=info.dtype,
        settings=_settings(config, info.dtype),
        members=tested.n_unique(),
        seeds=len(info.seeds),
        chosen=tuple(point for point in run.selection.grid if point.chosen),
        claims=tuple(map(_short, _judged(run))),
        scores=(*_scores(run, run.rows), *_paper(run)),
        curves=curves(run) if info.family == "functions" else (),
        sentences=sentences(run, run.rows),
        trained=first_rows(run, MEMBER) if info.family == "functions" else (),
        command=_without_folders(info.command),
        seconds=round(sum(info.stages.values()), 1),
        peak_memory_gib=info.peak_memory_gib,
        date=run.date,
        machine=Machine(
            processor=str(machine["processor"]),
            cores=int(str(machine["cores"])),
            device=info.device,
        ),
        versions={name: info.versions[name] for name in _VERSIONS if name in info.versions},
        notes=info.notes,
    )


def _judged(run: RunFolder) -> list[Claim]:
    """The run's claims by the rules of today, which may be newer than the run."""
    assert run.rows is not None
    results = RunResults(tasks_of(run), run.rows, run.config.seeds, run.constancy)
    return judge_run(family_of(run.config.task).claims, results, run.info.command)


def _text(kept: KeptRun) -> str:
    """JSON with a line per field, and per record of a field that is a list."""
    lines = []
    for name, value in kept.model_dump(mode="json").items():
        shown = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            shown = "[\n  " + ",\n  ".join(json.dumps(v, ensure_ascii=False) for v in value) + "]"
        lines.append(f' "{name}": {shown}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _task(config: RunConfig) -> str:
    """The family, but for the tasks that are told apart within one."""
    task = config.task.model_dump()
    if task.get("train") == "borders":
        return "borders"
    parts = [task[name] for name in _NAMED if isinstance(task.get(name), str)]
    return " ".join([config.task.family, *parts]).replace("_", "-")


def _settings(config: RunConfig, dtype: str) -> dict[str, Setting]:
    """Single values only: of a list of members the page says how many there are."""
    task = config.task.model_dump(mode="json")
    settings = {
        name: value for name, value in task.items() if name not in ("family", "part", "trait")
    }
    if settings.get("rows", 0) is None:
        settings["rows"] = getattr(config.task, "size", None)  # what the family takes unasked
    settings |= {"dtype": dtype, "batch_lines": config.batch_lines}
    if config.vector is not None:
        settings |= {"positions": config.vector.positions, "site": config.vector.site}
    if config.adapter is not None:
        settings |= {"rank": config.adapter.rank, "adapted": " ".join(config.adapter.modules)}
    return {name: value for name, value in settings.items() if not isinstance(value, (list, dict))}


def _short(claim: Claim) -> Claim:
    """With numbers of five digits; the command stands with the run."""
    found = claim.found.model_copy(
        update={end: rounded(getattr(claim.found, end)) for end in ("value", "low", "high")}
    )
    nulls = tuple(null.model_copy(update={"value": rounded(null.value)}) for null in claim.nulls)
    ends = {
        name: None if (value := getattr(claim, name)) is None else rounded(value)
        for name in ("base", "ceiling")
    }
    return claim.model_copy(update={"found": found, "nulls": nulls, "command": "", **ends})


def _scores(run: RunFolder, rows: pl.DataFrame) -> Iterator[Score]:
    """Of each part and arm the score itself, then each facet's where there are several."""
    scoring = run.info.scoring
    for part in _PARTS:
        if part in FREE and scoring.measure != "accuracy":
            continue
        base = select_rows(rows, "base", part=part)
        for arm in _ARMS:
            of_arm = select_rows(rows, arm, part=part)
            whole, by_facet = scoring.score(of_arm, base), scoring.by_facet.score(of_arm, base)
            if whole is not None:
                yield _score(part, "", arm, stats.estimate(whole))
            if by_facet is not None and len(by_facet.facets) > 1:
                for facet in by_facet.facets:
                    cells = by_facet.only(facet)
                    if cells.clusters:
                        yield _score(part, facet, arm, stats.estimate(cells))


def _score(part: Part, facet: str, arm: str, found: Interval) -> Score:
    ends = {name: rounded(value) for name, value in found.columns.items()}
    return Score.model_validate({"part": part, "facet": facet, "arm": arm, **ends})


def _paper(run: RunFolder) -> Iterator[Score]:
    """Shares on the paper's own questions; the untouched model's is a plain mean."""
    for line in run.paper:
        facet = " ".join(filter(None, (line.member, line.facet.removeprefix("paper: "))))
        share = Interval(line.share.value, line.share.low, line.share.high)
        yield _score("paper", facet, line.arm, share)
        for other in line.beside:
            if other.name == "untouched model" and line.arm == run.paper[0].arm:
                yield _score("paper", facet, "base", Interval(*[other.share] * 3))


def _without_folders(command: str) -> str:
    """The command with files' names only, and without its `--out`: folders are of one machine."""
    return re.sub(r"(?<=\s)[\"']?/\S*/", "", re.sub(r"\s--out[ =]\S+", "", command))
