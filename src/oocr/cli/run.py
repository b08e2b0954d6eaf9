"""`oocr run` and `oocr show`: configurations in, progress on the terminal, a report out."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from oocr.cli.options import Overrides
from oocr.errors import InputError, RunError
from oocr.io import command_line
from oocr.models.sources.bundled import millions
from oocr.models.sources.hub import with_revision
from oocr.output_checks import check_output, folder_bytes
from oocr.runs.builtin import FittedRuns, also_run, fitted, source_for
from oocr.runs.config import RunConfig
from oocr.runs.config import quick as cut_down
from oocr.runs.progress import progress_on
from oocr.runs.read_config import config_path, load_configs, place_of, revalidate

if TYPE_CHECKING:
    from oocr.claims.records import Claim, PaperScore
    from oocr.stores import UrlStore


def configs_of(
    source: str, overrides: Overrides, *, quick: bool, on_gpu: bool = False
) -> FittedRuns:
    """Configurations of a built-in name or YAML file with options applied; `quick`: cut down.

    `on_gpu`: the model need not be here, as in `oocr.models.outline.outline`.
    """
    runs = fitted(load_configs(source), source, overrides.model, on_gpu=on_gpu)
    configs = [apply(config, overrides) for config in runs.configs]
    note = runs.note if overrides.layers is None else ""
    return FittedRuns([cut_down(config) for config in configs] if quick else configs, note)


def run_source(
    source: str,
    overrides: Overrides,
    *,
    out: Path,
    quick: bool,
    command: str,
    lease: float | None = None,
    url: UrlStore | None = None,
) -> list[Path]:
    """Do all runs of a built-in name or YAML file; print verdicts and the report's path.

    With a `lease` (seconds) the runs are shared with other processes, in `out` or at the `url`.
    """
    source, note = source_for(source, overrides.model)
    runs = {
        name: configs_of(name, overrides, quick=quick)
        for name in (source, *also_run(source, overrides.model))
    }
    places = [(name, number) for name, run in runs.items() for number in range(len(run.configs))]
    jobs = [(runs[name].configs[number], config_path(name).parent) for name, number in places]
    console = Console()
    for text in filter(None, (note, *(run.note for run in runs.values()))):
        print_plain(console, text)

    def located(error: InputError, index: int) -> InputError:
        return _located(error, *places[index], overrides)

    folders = do_runs(
        jobs, out=out, command=command, console=console, located=located, lease=lease, url=url
    )
    print_verdicts(console, folders, source, url)
    return folders


def print_verdicts(
    console: Console, folders: Sequence[Path], source: str, url: UrlStore | None = None
) -> None:
    """Print the verdicts of finished runs, and write their page; several runs share one page.

    The page of runs at a URL is uploaded.
    """
    name = f"{Path(source).stem[:40]}-{folders_key(folders)}" if len(folders) > 1 else ""
    where = folders[0].parent / (name or folders[0].name) / "report.html"
    _verdicts(console, folders, where, url)


def do_runs(
    jobs: Sequence[tuple[RunConfig, Path]],
    *,
    out: Path,
    command: str,
    console: Console,
    located: Callable[[InputError, int], InputError],
    lease: float | None = None,
    url: UrlStore | None = None,
) -> list[Path]:
    """Check all runs, then do them one after the other, with progress on the console.

    With a `lease` (seconds) they are shared with other processes, in `out` or at the `url`.
    Verdicts are printed even if they cannot be stored. `located` adds file and line to an error of
    the run with this number.
    """
    from oocr.models.load import placement
    from oocr.runs.estimates.memory_estimate import check_weights
    from oocr.runs.folder import run_folder
    from oocr.runs.processes.executor import Executor, Worker
    from oocr.runs.processes.memory_plan import available_memory, fit_workers
    from oocr.runs.resolve import resolve
    from oocr.runs.run import do_run
    from oocr.runs.stages import PreparedRun
    from oocr.work.shared_run import work_on

    check_output(out, folder=True)
    worker = Worker(lambda text: print_plain(console, f"  {text}"))
    # All runs are checked before the first begins; in reverse, so that its model stays loaded.
    prepared: dict[int, PreparedRun] = {}
    for index, (config, base) in reversed(list(enumerate(jobs))):
        try:
            placement(config.dtype, config.loading["device"], config.device_map)
            run = resolve(config, base)
            if not worker.holds(run.config):
                check_weights(run.config)
            ready = PreparedRun.of(run, worker.model(run.config))
            fit_workers(ready.needs, 1, available_memory(ready.parts))
            prepared[index] = ready.without_tokens() if index else ready
        except InputError as error:
            raise located(error, index) from error
    for ready in prepared.values():
        folder = run_folder(ready.run.config, out)
        check_output(folder, folder=True, needs=ready.stored - folder_bytes(folder))
    judged: list[tuple[Sequence[Claim], Sequence[PaperScore]]] = []
    folders: list[Path] = []
    with Executor(worker) as executor:
        for index in range(len(jobs)):
            began = time.perf_counter()
            run_now = prepared.pop(index)  # release its tasks
            model = run_now.model
            console.print(
                f"\n[bold]{run_now.run.config.name}[/]  {escape(model.model)}: "
                f"{millions(model.parameters)} parameters, {model.blocks} blocks, {model.dtype}"
                f"  licence: {model.model_source.get('license') or 'see its card'}",
                highlight=False,
            )
            for note in run_now.notes:
                print_plain(console, f"  note: {note}")
            judged.clear()
            try:
                with progress_on(console) as progress:
                    do = do_run if lease is None else partial(work_on, lease=lease, url=url)
                    folder = do(
                        *(run_now, executor, out),
                        progress=progress,
                        command=command,
                        on_judged=lambda *verdicts: judged.append(verdicts),
                    )
            except (RunError, OSError):
                for claims, paper in judged:
                    _print_verdicts(console, run_now.run.config.name, claims, paper)
                raise
            folders.append(folder)
            console.print(f"  {time.perf_counter() - began:.0f} s", highlight=False)
    return folders


def _located(error: InputError, source: str, index: int, overrides: Overrides) -> InputError:
    """The error with the option, or the file and line, that its field comes from."""
    field = str(error).split(":")[0]
    option = field.split(".")[-1]
    named = option in ("layers", "positions") or field in (
        *("model", "device", "dtype", "devices", "gpus_per_worker"),
    )
    if named and getattr(overrides, option) is not None:
        return InputError(f"{_option(option)}: {error}")
    if overrides.model is not None and with_revision(overrides.model)[0] in str(error):
        return InputError(f"--model: {error}")
    if not re.fullmatch(r"[a-z_.]+", field):
        return error
    return InputError(f"{place_of(source, index, field)}: {error}")


def show_run(folder: Path) -> None:
    """Print a run's verdicts and write its report again."""
    if not (folder / "claims.json").is_file():
        raise InputError(f"{folder}: not the folder of a finished run (no claims.json)")
    _verdicts(Console(), [folder], folder / "report.html")


def folders_key(folders: Sequence[Path]) -> str:
    """Key of the folder for results that several runs share."""
    return hashlib.sha256("/".join(folder.name for folder in folders).encode()).hexdigest()[:8]


def print_plain(console: Console, text: str) -> None:
    """Print a line without markup or wrapping, so that paths can be copied."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _verdicts(
    console: Console, folders: Sequence[Path], where: Path, url: UrlStore | None = None
) -> None:
    from oocr.evals.score_table import about_ties, shown_rows
    from oocr.report.run_page import build_report
    from oocr.runs.folder import RunFolder

    for run in map(RunFolder, folders):
        _print_verdicts(console, run.folder.name, run.claims, run.paper)
        if tied := "" if run.rows is None else about_ties(shown_rows(run.rows)):
            print_plain(console, f"  note: {tied}")
    build_report(folders, where)
    print_plain(console, f"\nreport: {where}")
    if url is not None:
        name = f"{where.parent.name}/{where.name}"
        url.upload(name, where)
        print_plain(console, f"shared: {url}/{name}")
    for folder in folders:
        words: list[str | Path] = ["oocr", "run", folder / "config.yaml"]
        words += [] if folder.parent == Path("runs") else ["--out", folder.parent]
        words = words if url is None else ["oocr", "work", str(url.below(folder.name))]
        print_plain(console, f"again:  {command_line(words)}")


def _print_verdicts(
    console: Console, name: str, claims: Sequence[Claim], paper: Sequence[PaperScore]
) -> None:
    from oocr.report.terminal import paper_table, verdict_table

    console.print(f"\n[bold]{name}[/]", highlight=False)
    console.print(verdict_table(claims))
    if paper:
        console.print(paper_table(paper))


def apply(config: RunConfig, overrides: Overrides) -> RunConfig:
    """The configuration with its fields replaced by command-line options."""
    given = {name: text for name, text in asdict(overrides).items() if text is not None}
    data = config.model_dump()
    for name in ("model", "seeds", "dtype", "device", "workers", "gpus_per_worker"):
        data[name] = given.get(name, data[name])
    if overrides.devices is not None:
        data["devices"] = _device_numbers(overrides.devices)
    if overrides.model is not None:
        data["model"], revision = with_revision(overrides.model)
        if revision or data["model"] != config.model:  # the file's revision is of its model
            data["revision"] = revision
    if overrides.arms is not None:
        wanted = [arm.strip() for arm in overrides.arms.split(",") if arm.strip()]
        for arm in wanted:
            if arm not in ARMS:
                raise InputError(f"--arms: {arm!r} is not allowed; allowed: {', '.join(ARMS)}")
        for arm in ARMS:
            data[arm] = (data[arm] or {}) if arm in wanted else None
    if overrides.layers is not None:
        layers = parse_layers(overrides.layers)
        for arm in ARMS:
            if data[arm] is not None:
                data[arm]["layers"] = layers
    for name, (arm, field) in ARM_OPTIONS.items():
        if name not in given:
            continue
        if data[arm] is None:
            raise InputError(f"{_option(name)}: this run has no {arm} arm")
        numeric = field == "learning_rates"
        data[arm][field] = _numbers(_option(name), given[name]) if numeric else given[name]
    words = " ".join(f"{_option(name)} {text}" for name, text in given.items())
    return revalidate(data, f"{config.name} with {words}" if given else config.name)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _device_numbers(text: str) -> tuple[int, ...]:
    numbers = [part.strip() for part in text.split(",")]
    for number in numbers:
        if not number.isdecimal():
            raise InputError(f"--devices: {number!r} is not the number of a GPU; write 0 or 0,1,3")
    return tuple(map(int, numbers))


def parse_layers(text: str, option: str = "--layers") -> tuple[int, ...]:
    """Blocks from "4", "2,4,6" or "10:30:2" (as in Python, the end is left out)."""
    layers: list[int] = []
    for part in text.split(","):
        try:
            numbers = [int(number) for number in part.split(":")]
            if len(numbers) == 1:
                layers.append(numbers[0])
            elif len(numbers) in (2, 3):
                layers.extend(range(*numbers)[: MOST_LAYERS - len(layers)])
            else:
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"{option}: {part!r} is not a block or a range; write 4 or 2,4,6 or 10:30:2"
            ) from error
    if not layers or len(layers) >= MOST_LAYERS:
        count = f"{MOST_LAYERS} or more blocks" if layers else "no block"
        raise InputError(f"{option}: {text!r} names {count}")
    return tuple(layers)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise InputError(
            f"{option}: {text!r} is not a list of numbers such as 0.01,0.03"
        ) from error


MOST_LAYERS = 1000
ARMS = ("vector", "adapter")
ARM_OPTIONS = {
    "positions": ("vector", "positions"),
    "site": ("vector", "site"),
    "vector_learning_rates": ("vector", "learning_rates"),
    "adapter_learning_rates": ("adapter", "learning_rates"),
}
"""Option -> the arm and the field that it sets."""
