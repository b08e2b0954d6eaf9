"""`oocr reproduce`: computes missing runs and analyses, judges the claims, writes the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from oocr.claims.page_claims import PaperVerdict
from oocr.cli.cluster.place import SharedPlace
from oocr.cli.cluster.shared_work import SharedWork
from oocr.cli.cluster.work import most_memory
from oocr.cli.options import Engine, shared_words
from oocr.cli.run import do_runs, folders_key, print_plain
from oocr.errors import InputError
from oocr.explain.llm_judge import Judge
from oocr.io import write_json
from oocr.leases import LEASE
from oocr.output_checks import check_output
from oocr.reproduce.analyses import all_claims
from oocr.reproduce.execute import answer
from oocr.reproduce.plan import PAPER_MODEL, Plan, on_model, plan_for
from oocr.runs.config import RunConfig
from oocr.runs.config import quick as cut_down
from oocr.runs.estimates.memory_estimate import outline_for
from oocr.runs.processes.executor import loaded_model
from oocr.runs.read_config import place_of


@dataclass(frozen=True, slots=True)
class ReproduceOptions:
    """Options of `oocr reproduce`; `command` is how it was called."""

    model: str | None
    quick: bool
    only: Sequence[str]
    out: Path
    workers: int | None
    command: str

    def plan(self, judge: Judge | None = None) -> Plan:
        """The runs and analyses of the chosen claims."""
        plan = plan_for(self.model, quick=self.quick)
        plan = plan if judge is None else plan.judged()
        return plan.only(self.only) if self.only else plan


def reproduce(
    options: ReproduceOptions, judge: Judge | None = None, lease: float | None = None
) -> Path:
    """Compute what is missing for the paper's claims; print verdicts and the path of the page.

    With a `lease` (seconds) the work is shared with other processes that run the same command.
    """
    check_output(options.out, folder=True)
    if judge is not None:
        judge.check()
    plan = options.plan(judge)
    configs = settings(plan, options.model, options.workers)
    return run_plan(
        plan,
        configs,
        out=options.out,
        command=options.command,
        again=_again(options, judge),
        judge=judge,
        lease=lease,
    )


def shared_reproduction(
    engine: Engine, words: Sequence[str], options: ReproduceOptions
) -> SharedWork[Path]:
    """The same for processes of an engine; `words` are the arguments after the verb."""
    check_output(options.out, folder=True)
    out, most = options.out.resolve(), options.workers
    workers = most if engine.ray is None else 1  # Ray places each process by itself
    plan = options.plan()
    configs = settings(plan, options.model, workers)
    jobs = [(config, run.source.parent) for run, config in zip(plan.runs(), configs, strict=True)]
    return SharedWork(
        SharedPlace(out),
        shared_words(["reproduce"], [*(word for word in words if word != SHARED), SHARED], out),
        partial(reproduce, replace(options, out=out, workers=workers), lease=LEASE),
        _print_page,
        partial(most_memory, jobs),
        gpus=max((config.gpus_per_worker for config in configs), default=1),
        most=most,
        runs=[config.name for config in configs],
    )


SHARED = "--shared"


def _print_page(page: Path) -> None:
    """Print the verdicts stored beside a page, and the page's path."""
    from oocr.report.terminal import claims_table

    console = Console()
    kept = json.loads((page.parent / "claims.json").read_text(encoding="utf-8"))
    console.print(claims_table([PaperVerdict.model_validate(verdict) for verdict in kept]))
    print_plain(console, f"\nreport: {page}")


def settings(plan: Plan, model: str | None, workers: int | None = None) -> list[RunConfig]:
    """Each planned run's settings for a model, in the plan's order."""
    blocks: int | None = None
    configs: list[RunConfig] = []
    for planned in plan.runs():
        config = planned.config
        if model == PAPER_MODEL:
            config = cut_down(config) if plan.quick else config
        elif model is not None:
            blocks = blocks or blocks_of(config.model_copy(update={"model": model}))
            config = on_model(config, model, blocks)
        configs.append(
            config if workers is None else config.model_copy(update={"workers": workers})
        )
    return configs


def blocks_of(config: RunConfig) -> int:
    """The number of a model's blocks, from its configuration; the model is fetched if not here."""
    try:
        return outline_for(config, counted=False).n_blocks
    except InputError:  # not downloaded yet: loading fetches it, or reports the error
        return loaded_model(config).n_blocks


def run_plan(
    plan: Plan,
    configs: Sequence[RunConfig],
    *,
    out: Path,
    command: str,
    again: Sequence[str],
    judge: Judge | None = None,
    lease: float | None = None,
) -> Path:
    """Do a plan's runs and analyses, judge its claims, write the page, and return its path."""
    from oocr.report.reproduce_page import build_page
    from oocr.report.terminal import claims_table

    console = Console()
    planned = plan.runs()

    def located(error: InputError, index: int) -> InputError:
        """The error with the setting's file and line in front."""
        setting, run = str(error).split(":")[0], planned[index]
        is_setting = setting.replace("_", "").replace(".", "").isalpha()
        line = place_of(run.source, run.place, setting)
        return InputError(f"{line}: {error}") if is_setting else error

    jobs = [(config, run.source.parent) for run, config in zip(planned, configs, strict=True)]
    folders = do_runs(jobs, out=out, command=command, console=console, located=located, lease=lease)
    named = {run.config.name: folder for run, folder in zip(planned, folders, strict=True)}
    results = answer(plan, named, console=console, again=again, judge=judge, lease=lease)
    order = [claim.id for claim in all_claims()]
    verdicts = [verdict for result in results for verdict in result.judged]
    verdicts.sort(key=lambda verdict: order.index(verdict.id))
    console.print(claims_table(verdicts))  # print first: the disk may be full
    page = out / f"reproduce-{folders_key(folders)}" / "report.html"
    write_json(page.parent / "claims.json", [verdict.model_dump() for verdict in verdicts])
    build_page(results, page, command=command)
    print_plain(console, f"\nreport: {page}")
    return page


def _again(options: ReproduceOptions, judge: Judge | None) -> list[str]:
    """The words of a command that continues this one."""
    words = ["oocr", "reproduce"]
    words += [] if options.model is None else ["--model", options.model]
    words += [] if judge is None else ["--judge", judge.model]
    words += [] if judge is None or judge.url is None else ["--judge-url", judge.url]
    words += [] if options.out == Path("runs") else ["--out", str(options.out)]
    return words + (["--quick"] if options.quick else [])
