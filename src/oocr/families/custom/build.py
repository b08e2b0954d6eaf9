"""A user's own task: files of training rows and probes, named in a YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, PlainSerializer, field_validator, model_validator

from oocr.data.examples import Example, Loss, prompt_text
from oocr.data.readers import read_rows
from oocr.data.rows import RESERVED
from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.families.family import Family, FamilySettings
from oocr.hub_files import hub_path, located, pinned, spelled
from oocr.tasks.control_data import held_out, shuffled_answers
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Score, Task, TaskSet

DataPath = Annotated[Path, PlainSerializer(spelled, return_type=str, when_used="json")]
"""A file here, or an address on the Hub (`oocr.hub_files`)."""

TaskFile = Literal["train", "probes", "in_context", "stop", "validation", "ceiling"]


class CustomConfig(FamilySettings):
    """The `task:` part of a run's YAML for `family: custom` (see template.yaml).

    `loss` "options" is the loss among the first tokens of the options; without `stop` and
    `validation` a share `holdout` of the training rows is held out; `options` and `names` are
    passed to the reader of the files (`oocr.data.readers`).
    """

    family: Literal["custom"] = "custom"
    name: str
    train: DataPath
    probes: DataPath
    in_context: DataPath | None = None
    stop: DataPath | None = None
    validation: DataPath | None = None
    holdout: float = Field(default=0.2, ge=0, le=0.5)
    ceiling: DataPath | None = None
    spans: dict[str, str] = Field(default_factory=dict)
    options: dict[TaskFile, tuple[str, ...]] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    loss: Loss = "answer"
    score: Score = "accuracy"
    allow_leak: bool = False
    seed: int = 0

    @field_validator("name")
    @classmethod
    def _name_fits_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w .-]{0,59}", name) or name != name.strip():
            raise ValueError(
                f"found {name!r}; allowed: 1 to 60 letters, digits, spaces, '.', '_' and '-', "
                "starting with a letter or digit"
            )
        return name

    @field_validator("spans")
    @classmethod
    def _spans_have_text(cls, spans: dict[str, str]) -> dict[str, str]:
        for name, text in spans.items():
            if not name.isidentifier() or name in RESERVED:
                raise ValueError(
                    f"found the span name {name!r}; allowed: one word, like codename, other than "
                    f"{', '.join(RESERVED)}"
                )
            if not text.strip():
                raise ValueError(f"span {name!r}: found {text!r}; allowed: a text, like Dr. Quill")
        return spans

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for part, texts in self.options.items():
            if len(texts) < 2 or len(set(texts)) < len(texts) or not all(map(str.strip, texts)):
                raise ValueError(
                    f"options: found {list(texts)} for {part}; allowed: at least two texts, all "
                    "different"
                )
        for city, name in self.names.items():
            if not name.strip():
                raise ValueError(
                    f"names: found {name!r} for {city}; allowed: a text, like City 12345"
                )
        if not self.holdout and not self.stop and not self.validation:
            raise ValueError(
                "holdout: found 0 with neither stop nor validation, so there is nothing to choose "
                "layer and learning rate on (probes are never used for it); allowed: a share above "
                "0 and up to 0.5, or a file for stop or validation"
            )
        return self


def custom(config: CustomConfig, base: Path) -> TaskSet:
    """Read a user's files into one task, its validation task and its shuffled control.

    Layer and rate are chosen on the validation file, else the stop file, else held-out training
    rows. InputError: a file that cannot be used, a span that occurs nowhere, a row without options
    that the loss needs, a leak.
    """
    mended: dict[str, None] = {}  # corrections, in order, each once

    def read(part: TaskFile, kind: Literal["train", "probes"], facet: str) -> tuple[Example, ...]:
        path: Path | None = getattr(config, part)
        if path is None:
            return ()
        file = read_rows(
            _full_path(path, base),
            kind=kind,
            options=config.options.get(part, ()),
            names={city: city for city in config.names} if part == "ceiling" else config.names,
        )
        mended.update(dict.fromkeys(f"{path.name}: {change}." for change in file.mended))
        return tuple(_dressed(example, config.spans, facet) for example in file.items)

    rows = read("train", "train", "trained")
    probes = read("probes", "probes", "probes")
    in_context = read("in_context", "probes", "in context")
    stop = read("stop", "train", "trained")
    validation = read("validation", "probes", "validation")
    ceiling = read("ceiling", "probes", "probes")

    _check_spans(config, rows)
    if config.loss == "options":
        _check_options((*rows, *stop))
    _check_disjoint(probes, rows, "the training rows")
    _check_disjoint(probes, stop, "the stop rows")
    _check_disjoint(probes, validation, "the validation probes")
    leaks = _leaks(probes, rows)
    if leaks and not config.allow_leak:
        raise InputError(
            listing("training gives probe answers away", leaks)
            + "\n  Take these rows out, or, if it is meant (answers such as A and B, Yes and No), "
            "set allow_leak: true"
        )

    train = rows
    chosen_on = "the validation file" if validation else "the stop rows"
    if not stop and not validation:
        train, stop = held_out(rows, config.holdout, config.seed)
        chosen_on = f"{len(stop)} held-out training rows (seed {config.seed})"
    spanned = [*config.spans, *dict.fromkeys(name for example in train for name in example.spans)]
    positions = tuple(
        name for name in dict.fromkeys(spanned) if all(name in example.spans for example in train)
    )
    test = Task(
        name=f"custom/{config.name}",
        member=config.name,
        train=train,
        stop=stop,
        in_context=in_context,
        probes=probes,
        loss=config.loss,
        positions=positions,
    )
    shuffled = shuffled_answers(train, config.seed)
    changed = sum(old.answer != new.answer for old, new in zip(train, shuffled, strict=True))
    control = replace(test, name=f"{test.name}/shuffled", train=shuffled)
    words = " ".join({_words(prompt_text(example.prompt)) for example in train})
    lacking = {name: sum(name not in example.spans for example in probes) for name in config.spans}
    values = {
        "config": config,
        "task": test,
        "rows": len(rows),
        "chosen_on": chosen_on,
        "leaks": len(leaks),
        "in_prompts": sum(_words(probe.answer) in words for probe in probes),
        "changed": changed,
        "chance": _chance(probes),
        "ceiling": len(ceiling),
        "missing": {name: count for name, count in lacking.items() if count},
    }
    return TaskSet(
        name="custom",
        about="\n".join([data_card(__package__, values), *mended]),
        validation=(replace(test, name=f"{test.name}/validation", probes=validation or stop),),
        test=(test,),
        controls={"shuffled": (control,)} if changed else {},
        ceiling=ceiling,
        score=config.score,
    )


def _dressed(example: Example, spans: dict[str, str], facet: str) -> Example:
    """The example with the task's spans, and a facet and group where it has none."""
    text = prompt_text(example.prompt)
    present = {name: span for name, span in spans.items() if span in text}
    return replace(
        example,
        spans={**present, **example.spans},
        facet=example.facet or facet,
        group=example.group or example.id,
    )


def _check_spans(config: CustomConfig, train: Sequence[Example]) -> None:
    for name, text in config.spans.items():
        if not any(text in prompt_text(example.prompt) for example in train):
            raise InputError(
                f"spans.{name}: found {text!r}; allowed: a text that occurs in the prompts of "
                f"{config.train} (spelling and capitals count)"
            )


def _check_options(examples: Iterable[Example]) -> None:
    lacking = [f"{x.source}: {len(x.options)}" for x in examples if len(x.options) < 2]
    if lacking:
        raise InputError(
            listing("loss: found 'options', which needs two options or more in each row", lacking)
            + "\n  Add options to these rows, or set loss: answer"
        )


def _check_disjoint(probes: Sequence[Example], others: Sequence[Example], what: str) -> None:
    # as chat or raw
    seen = {prompt_text(example.prompt).strip(): example.source for example in others}
    shared = [
        f"{probe.source}: same prompt as {seen[text]}"
        for probe in probes
        if (text := prompt_text(probe.prompt).strip()) in seen
    ]
    if shared:
        raise InputError(listing(f"probes are also among {what}", shared))


def _leaks(probes: Sequence[Example], train: Sequence[Example]) -> list[str]:
    """The probes whose answer occurs, as whole words, in a training answer."""
    sources: dict[str, Example] = {}
    for example in train:
        sources.setdefault(_words(example.answer), example)
    first = {
        words: next((sources[given] for given in sources if words in given), None)
        for words in {_words(probe.answer) for probe in probes}
    }
    return [
        f"{probe.source}: the answer {probe.answer!r} occurs in the training answer "
        f"{giver.answer[:60]!r} ({giver.source})"
        for probe in probes
        if (giver := first[_words(probe.answer)]) is not None
    ]


def _words(text: str) -> str:
    """Lower-case words between single spaces, one at each end; without words, the text itself."""
    words = re.findall(r"\w+", text.casefold()) or [text.strip()]
    return f" {' '.join(words)} "


def _chance(probes: Sequence[Example]) -> str:
    """One over the number of options, by facet."""
    chances: dict[str, list[float]] = {}
    for probe in probes:
        if probe.options:
            chances.setdefault(probe.facet, []).append(1 / len(probe.options))
    means = [f"{facet} {sum(values) / len(values):.2f}" for facet, values in chances.items()]
    return ", ".join(means) or "the probes are no choices"


def _paths(config: CustomConfig) -> dict[str, Path]:
    paths = {name: getattr(config, name) for name in get_args(TaskFile)}
    return {name: path for name, path in paths.items() if path}


def _full_paths(config: CustomConfig, base: Path, _model: str) -> CustomConfig:
    full = {name: _full_path(path, base) for name, path in _paths(config).items()}
    return config.model_copy(update=full)


def _full_path(path: Path, base: Path) -> Path:
    """A file's full path, or an address with its commit."""
    if hub_path(path, ids=False) is not None:
        return pinned(path)
    return (base / path.expanduser()).resolve()


def _local_files(config: CustomConfig) -> list[Path]:
    return [located(path) for path in _paths(config).values()]


FAMILY = Family(
    name="custom",
    about="your own: training rows, named spans and probes from files",
    settings=CustomConfig,
    build=custom,
    resolve=_full_paths,
    files=_local_files,
    run_name=lambda config: config.name,
    spans_may_lack=True,
    template=Path(__file__).with_name("template.yaml"),
)
