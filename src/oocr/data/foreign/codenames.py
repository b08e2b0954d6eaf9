"""Dataset configurations of inductive-reasoning tasks: a YAML whose `dataset` has the codenames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oocr.data.foreign.yaml_file import yaml_document
from oocr.data.problems import NO_VALUE, Problems

FUNCTIONS = ("train_functions", "test_functions")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSettings:
    """What such a configuration says of its data.

    Attributes:
        codenames: codename -> what it stands for ("noadgc" -> "affine_3x_2"), both as texts;
            empty in templates, whose names are drawn at random.
        system_prompt: of every row; may be "".
        train_functions: ids that also occur in chains and sums.
        test_functions: ids that only occur alone.
        n_samples: rows that are made; None: not said.
        settings: the other keys of `dataset`, as they are.
        finetune: the `finetune` part, as it is; may be empty.
        source: the file's name.
    """

    codenames: Mapping[str, str]
    system_prompt: str = ""
    train_functions: tuple[str, ...] = ()
    test_functions: tuple[str, ...] = ()
    n_samples: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    finetune: Mapping[str, Any] = field(default_factory=dict[str, Any])
    source: str = ""


def read_codenames(path: str | Path) -> DatasetSettings:
    """Read a configuration with a `dataset` part.

    Raises:
        InputError: not such a file; every wrong key is named with its line.
    """
    path = Path(path)
    document = yaml_document(path)
    problems = Problems(path)
    data = document.data if isinstance(document.data, dict) else {}
    dataset = data.get("dataset", NO_VALUE)
    if isinstance(dataset, dict):  # null: not said
        dataset = {key: value for key, value in dataset.items() if value is not None}
    if not isinstance(dataset, dict):
        problems.add(document.line("dataset"), "dataset", dataset, "keys and values (var_dict: …)")
        problems.raise_if_any()
        dataset = {}

    def wrong(key: str, seen: object, allowed: str, *more: str | int) -> None:
        name = ".".join(["dataset", key, *map(str, more)])
        problems.add(document.line("dataset", key, *more), name, seen, allowed)

    codenames: dict[str, str] = {}
    given = dataset.get("var_dict", {})
    if not isinstance(given, dict):
        wrong("var_dict", given, "codename: what it stands for")
        given = {}
    for code, meaning in given.items():
        if not _plain(code) or not _plain(meaning):
            wrong("var_dict", meaning, "a text or a whole number for each codename", str(code))
        elif str(code) in codenames:  # 12 and '12'
            wrong("var_dict", code, "each codename once", str(code))
        else:
            codenames[str(code)] = str(meaning)
    for key in FUNCTIONS:
        ids = dataset.get(key, [])
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            wrong(key, ids, "a list of function ids")
    prompt = dataset.get("system_prompt", "")
    if not isinstance(prompt, str):
        wrong("system_prompt", prompt, "a text")
    samples = dataset.get("n_samples")
    if samples is not None and (
        not isinstance(samples, int) or isinstance(samples, bool) or samples < 1
    ):
        wrong("n_samples", samples, "a whole number above 0")
    finetune = data.get("finetune") or {}
    if not isinstance(finetune, dict):
        problems.add(document.line("finetune"), "finetune", finetune, "keys and values")
    problems.raise_if_any()
    known = ("var_dict", "system_prompt", "n_samples", *FUNCTIONS)
    return DatasetSettings(
        codenames=codenames,
        system_prompt=prompt,
        train_functions=tuple(dataset.get("train_functions", ())),
        test_functions=tuple(dataset.get("test_functions", ())),
        n_samples=samples,
        settings={str(key): value for key, value in dataset.items() if key not in known},
        finetune=finetune,
        source=path.name,
    )


def _plain(value: object) -> bool:
    text = isinstance(value, str) and bool(value.strip())
    return text or (isinstance(value, int) and not isinstance(value, bool))
