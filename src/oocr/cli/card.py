"""`oocr tasks NAME`: the data card, the parts with their sizes, and samples in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from oocr.data.examples import Example, FreeTextExample, Message, spread
from oocr.errors import InputError
from oocr.report.sample_view import coloured, legend, with_signs, without_colour
from oocr.steering.token_roles import asked_tokens, directions_of, training_tokens
from oocr.tasks.task import Task, TaskSet
from oocr.words import counted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from oocr.runs.config import RunConfig

Asked = Example | FreeTextExample
ASKED = ("in_context", "probes", "paper", "free")
"""The parts of a task on which trained arms are scored."""


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """A row of the table of parts.

    Attributes:
        name: of the part; "" in its second and later rows.
        what: the facet, or which model answers.
        items: how many, over all members; `each`: of the first member, None where not useful.
        options: how many an item has, from fewest to most; None: not a choice.
        chance: mean over items of one over the number of options.
    """

    name: str
    what: str
    items: int
    each: int | None
    options: tuple[int, int] | None
    chance: float | None


def print_task(name: str, *, model: str | None = None, samples: int = 2) -> None:
    """The data cards of a built-in run, a family, or the runs of a YAML file."""
    from oocr.families.registry import FAMILIES
    from oocr.models.sources.bundled import plugin_of
    from oocr.runs.builtin import source_for
    from oocr.runs.read_config import BUILTIN, config_path, load_configs, revalidate

    name, _ = source_for(name, model)
    if name in FAMILIES and name not in BUILTIN and not Path(name).exists():
        if FAMILIES[name].template:
            raise InputError(
                f"{name}: a task of your own has no data before you give it some: "
                "oocr tasks --template > mine.yaml, then oocr tasks mine.yaml"
            )
        configs = [revalidate({"name": name, "task": {"family": name}}, name)]
        print_card(configs, Path(), model=model, samples=samples)
        return
    configs = load_configs(name)
    if model is not None and plugin_of(model):  # its tasks are about what it knows
        configs = [run.model_copy(update={"model": model}) for run in configs]
    print_card(configs, config_path(name).parent, model=model, samples=samples)


def print_card(runs: Sequence[RunConfig], base: Path, *, model: str | None, samples: int) -> None:
    """Print the data card of every run; of runs of the same task the samples only."""
    from oocr.runs.resolve import resolve

    console = Console(markup=False, highlight=False)
    shown: dict[str, str] = {}
    tokenizers: dict[tuple[str, str | None], PreTrainedTokenizerBase | str] = {}
    for number, given in enumerate(runs):
        run = resolve(given, base)
        config, tasks = run.config, run.tasks
        console.print(Text.assemble("\n" if number else "", (config.name, "bold"), "\n"))
        key = config.task.model_dump_json()
        if key in shown:
            console.print(f"The task is that of {shown[key]}.\n")
        else:
            shown[key] = config.name
            console.print(f"{tasks.about}\n")
            console.print(parts_table(splits_of(tasks), tasks))
        if samples:
            source = (model or config.model, None if model else config.revision)
            if source not in tokenizers:
                tokenizers[source] = _tokenizer(*source)
            positions = config.vector.positions if config.vector is not None else ""
            _samples(console, tasks, tokenizers[source], source[0], positions, samples)


def splits_of(tasks: TaskSet) -> list[SplitSummary]:
    """The parts of a task set: training, then questions, then controls and the ceiling."""
    tests = tasks.test
    rows = _facets("training", tests, "train") + _facets("stop", tests, "stop")
    if chosen_on := [example for task in tasks.validation for example in task.probes]:
        what = f"{counted(len(tasks.validation), 'task')} to choose on"
        rows.append(_row("validation", what, chosen_on, len(tasks.validation[0].probes)))
    for name in ASKED:
        rows += _facets(name.replace("_", " "), tests, name)
    for name, members in tasks.controls.items():
        trained = [example for task in members for example in task.train]
        what = f"training of {counted(len(members), 'task')}"
        each = len(members[0].train) if members else None
        rows.append(_row(f"control {name}", what, trained, each))
    for name, what, asked in (
        ("ceiling", "cause stated", tasks.ceiling),
        ("asked first", "by the untouched model", tasks.asked_first),
    ):
        rows += [_row(name, what, asked, None)] if asked else []
    return rows


def _facets(name: str, tests: Sequence[Task], part: str) -> list[SplitSummary]:
    """A row for each facet of a part."""
    members: list[Sequence[Asked]] = [getattr(task, part) for task in tests]
    rows: list[SplitSummary] = []
    for facet in dict.fromkeys(example.facet for member in members for example in member):
        kept = [[example for example in member if example.facet == facet] for member in members]
        rows.append(_row(name, facet, [example for m in kept for example in m], len(kept[0])))
    return rows


def _row(name: str, what: str, examples: Sequence[Asked], each: int | None) -> SplitSummary:
    sizes = [len(example.options) for example in examples if isinstance(example, Example)]
    counts = [size for size in sizes if size]
    span = (min(counts), max(counts)) if counts else None
    chance = sum(1 / count for count in counts) / len(counts) if counts else None
    return SplitSummary(name, what, len(examples), each, span, chance)


def parts_table(parts: Sequence[SplitSummary], tasks: TaskSet) -> Table:
    """The parts for a terminal."""
    several = len(tasks.test) > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    if several:
        table.caption = Text(f"each: of {tasks.test[0].member}, one of {len(tasks.test)} members")
        table.caption_justify = "left"
    for title in ("part", "facet", "items", *(["each"] * several), "options", "chance"):
        table.add_column(title, justify="left" if title in ("part", "facet") else "right")
    before = ""
    for part in parts:
        name, before = ("" if part.name == before else part.name), part.name
        low, high = part.options or (0, 0)
        without = "own words" if part.name.startswith("free") else "none"
        options = f"{low}–{high}" if low != high else str(low) if high else without
        cells = [name, part.what, f"{part.items:,}"]
        cells += ["" if part.each is None else f"{part.each:,}"] if several else []
        cells += [options, "" if part.chance is None else f"{part.chance:.3f}"]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _tokenizer(model: str, revision: str | None) -> PreTrainedTokenizerBase | str:
    """The tokenizer, or why there is none."""
    from oocr.models.tokenizer import load_tokenizer

    def say(text: str) -> None:
        Console(stderr=True, markup=False, highlight=False).print(f"  {text}")

    try:
        return load_tokenizer(model, revision=revision, say=say)
    except InputError as error:
        return str(error)


def _samples(
    console: Console,
    tasks: TaskSet,
    tokenizer: PreTrainedTokenizerBase | str,
    model: str,
    positions: str,
    count: int,
) -> None:
    loss = (
        "of each answer's tokens, over the whole vocabulary"
        if tasks.test[0].loss == "answer"
        else "of the right option's first token, among those of its options"
    )
    console.print(f"Loss: minus the log-probability {loss}.")
    plain = without_colour(console)
    task, directions = tasks.test[0], directions_of(positions)
    if isinstance(tokenizer, str):
        console.print(f"Samples as text, without tokens: {tokenizer}\n")
    else:
        steered = f", vector at {positions!r}" if positions else ", no vector is trained"
        console.print(f"Samples in the tokens of {model}{steered}:")
        console.print(Padding(legend(directions, plain=plain), (0, 0, 0, 2), expand=False))

    def show(example: Asked, *, trained: bool) -> None:
        text = _plain_sample(example, plain=plain, answered=trained)
        if not isinstance(tokenizer, str):
            try:
                if trained and isinstance(example, Example):
                    tokens = training_tokens(
                        tokenizer, example, loss=task.loss, positions=positions
                    )
                else:
                    tokens = asked_tokens(tokenizer, example, positions=positions)
                text = coloured(tokens, directions, plain=plain)
                if positions not in ("", "answer") and not any(token.steered for token in tokens):
                    text.append("  (nothing is steered here)", "dim")
            except InputError as error:
                text.append(f"\n(not in this model's tokens: {error})", "dim")
        if not trained:
            text.append_text(_expected(example, plain=plain))
        console.print(Padding(text, (0, 0, 0, 2), expand=False))

    _heading(console, "training", task.member, len(task.train))
    if count_first := sum(bool(example.answer_of) for example in task.train):
        console.print(f"  (the answers of {count_first:,} rows are put in by the untouched model)")
    for row in spread(task.train, count):
        show(row, trained=True)
    for part in ASKED:
        asked: tuple[Asked, ...] = getattr(task, part)
        for facet in dict.fromkeys(example.facet for example in asked):
            of_facet = [example for example in asked if example.facet == facet]
            _heading(console, f"{part.replace('_', ' ')}: {facet}", task.member, len(of_facet))
            for example in spread(of_facet, count):
                show(example, trained=False)


def _plain_sample(example: Asked, *, plain: bool, answered: bool) -> Text:
    """The texts of an item, where there are no tokens to show."""
    prompt: str | tuple[Message, ...] = example.prompt
    if not isinstance(prompt, str):
        prompt = "\n".join(f"{turn.role}: {turn.content}" for turn in prompt)
    text = Text(with_signs(prompt, plain=plain))
    if answered and isinstance(example, Example):
        text.append(with_signs(example.answer, plain=plain), "bold")
    return text


def _expected(example: Asked, *, plain: bool) -> Text:
    """The correct answer, after an arrow."""
    text = Text(" → ", "dim")
    if isinstance(example, FreeTextExample):
        accepted = " or ".join(repr(text) for text in example.accept[:3])
        more = f" or {len(example.accept) - 3} more" if len(example.accept) > 3 else ""
        return text.append(with_signs(f"{accepted}{more}", plain=plain), "bold")
    text.append(with_signs(repr(example.answer), plain=plain), "bold")
    if example.options:
        others = [repr(option) for option in example.options if option != example.answer]
        shown = ", ".join(others) if len(others) < 3 else f"{len(others)} others"
        how = ", by their last tokens" if example.scored_by == "last_token" else ""
        text.append(f" against {with_signs(shown, plain=plain)}{how}", "dim")
    return text


def _heading(console: Console, title: str, member: str, count: int) -> None:
    console.print(Text.assemble("\n", (title, "bold"), f"  {member}, {count:,} items"))
