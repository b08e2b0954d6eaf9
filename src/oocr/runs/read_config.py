"""Reading configurations from YAML or plain data; an error names file, line and field."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from oocr.data.formats import ending_of
from oocr.data.source_file import Document, Place, file_text, repeated
from oocr.errors import InputError
from oocr.families.registry import FAMILIES
from oocr.models.sources.bundled import BUNDLED, model_sources, named_models
from oocr.models.sources.hub import is_path
from oocr.runs.config import TAGS, RunConfig
from oocr.words import first_line

PLUGIN_RUNS = {path.stem: path for source in model_sources() for path in source.runs().values()}
"""Built-in runs on the models of plug-ins, and their files."""
BUILTIN = (
    *("countries", "borders", "backdoor", "risk", "persona", "risk-backdoor", "locations"),
    *("functions", "ocr", "ockr", "frames", *PLUGIN_RUNS, "demo"),
)
_FOLDER = Path(__file__).parent / "configs"
PAPER = tuple(sorted(f"paper/{path.stem}" for path in (_FOLDER / "paper").glob("*.yaml")))
"""The paper's own runs, on Gemma-3-12b-it."""
OF_MODELS = tuple(
    f"{name}/{path.stem}" for name in BUNDLED for path in sorted((_FOLDER / name).glob("*.yaml"))
)
"""Built-in runs with settings for one model: "model/task"."""

ROW_ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_SHOWN = 20


def config_path(source: str | Path) -> Path:
    """The file of a built-in name, or the path itself; an `InputError` if there is none."""
    known = (*BUILTIN, *OF_MODELS, *PAPER)
    path = _FOLDER / f"{source}.yaml" if str(source) in known else Path(source)
    path = PLUGIN_RUNS.get(str(source), path)
    if not str(source).strip():
        raise InputError(f"{source!r}: allowed: a built-in run or a YAML file")
    if path.is_dir():
        raise InputError(f"{source}: this is a folder; allowed: a built-in run or a YAML file")
    if not path.is_file():
        hint = difflib.get_close_matches(str(source), known, 1)
        more = f"; did you mean {hint[0]!r}?" if hint else ""
        raise InputError(
            f"{source}: no such file, and not a built-in run ({', '.join(BUILTIN)}, or paper/…: "
            f"oocr tasks lists them){more}"
        )
    if ending_of(path) in ROW_ENDINGS:
        raise InputError(
            f"{path}: this is a file of rows; allowed: a built-in run, or a YAML file that names "
            "it as train: or probes: (oocr tasks --template > mine.yaml)"
        )
    return path


def load_configs(source: str | Path) -> list[RunConfig]:
    """Read a built-in name or a YAML file: one run, or several under `runs:`.

    An `InputError` names the file, and line, field, value and what is allowed of each fault.
    """
    path = config_path(source)
    document = _parsed(path)
    data = document.data
    if not isinstance(data, dict):
        seen = "an empty file" if data is None else repr(data)
        raise InputError(f"{path}: line 1: expected keys and values (task: …), found {seen}")
    several = "runs" in data
    if several and (set(data) != {"runs"} or not isinstance(data["runs"], list)):
        raise InputError(f"{path}: beside `runs:` (a list) no other key is allowed")
    configs: list[RunConfig] = []
    wrong: list[str] = []
    for index, entry in enumerate(data["runs"] if several else [data]):
        before: Place = ("runs", index) if several else ()
        try:
            configs.append(_with_model_path(RunConfig.model_validate(entry), path.parent))
        except ValidationError as error:
            wrong += [
                f"line {document.line(*before, *place)}: {text}"
                for place, text in _explained(error, entry)
            ]
    _refuse(str(path), wrong)
    if not configs:
        raise InputError(f"{path}: runs: found []; at least one run is needed")
    return configs


def _with_model_path(config: RunConfig, base: Path) -> RunConfig:
    """The configuration with the full path of its model, if that is a path from the file's folder.

    Other names are bundled models, Hugging Face ids, or paths from the current folder. A name that
    can only be a path is relative to the file's folder even if nothing is there.
    """
    name = config.model
    if name in BUNDLED or name in named_models() or "://" in name or not name.strip():
        return config
    path = base.resolve() / Path(name).expanduser()
    if path.exists() or (is_path(name) and not Path(name).expanduser().exists()):
        return config.model_copy(update={"model": str(path)})
    return config


def revalidate(data: dict[str, Any], source: str) -> RunConfig:
    """A configuration from plain data, e.g. with options of the command line put in.

    An `InputError` names the source, the field, the value and what is allowed.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        _refuse(source, [text for _, text in _explained(error, data)])
        raise


def place_of(source: str | Path, index: int, field: str) -> str:
    """File and line of a field in the run with number `index`."""
    path = config_path(source)
    document = _parsed(path)
    before: Place = ("runs", index) if "runs" in document.data else ()
    return f"{path}: line {document.line(*before, *field.split('.'))}"


def _parsed(path: Path) -> Document:
    text = file_text(path).text
    try:
        document = Document(yaml.safe_load(text), yaml.compose(text))
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # e.g. a date that does not exist
        mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"{path}: line {mark.line + 1}" if mark else f"{path}"
        reason = reason or first_line(error)
        raise InputError(f"{where}: not valid YAML: {reason}") from error
    twice = [
        f"line {line}: {key}: given twice, first in line {first}"
        for line, key, first in repeated(document.tree)
    ]
    _refuse(str(path), twice)
    return document


def _refuse(source: str, wrong: list[str]) -> None:
    if wrong:
        more = [f"… and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise InputError("\n  ".join([f"{source}: {len(wrong)} wrong", *wrong[:_SHOWN], *more]))


def _explained(error: ValidationError, entry: Any) -> Iterator[tuple[Place, str]]:
    """Each error with its place and a sentence: field, value, what is allowed."""
    for fault in error.errors():
        place = tuple(part for part in fault["loc"] if part not in TAGS)
        if fault["type"] == "extra_forbidden":
            keys = ", ".join(_keys(fault["loc"], entry))
            text = f"unknown key (value {fault['input']!r}); allowed: {keys}"
        elif fault["type"] == "missing":
            allowed = f"; allowed: {', '.join(map(repr, FAMILIES))}"
            text = f"missing{allowed if place == ('task', 'family') else ''}"
        elif fault["type"] == "value_error" and isinstance(fault["input"], dict):
            text = str(fault["ctx"]["error"])  # an error about several fields names them
        else:
            text = f"{fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
        yield place, f"{'.'.join(map(str, place)) or 'the whole'}: {text}"


def _keys(place: Place, entry: Any) -> tuple[str, ...]:
    """The keys that are allowed in place of an unknown one."""
    kind: type[BaseModel] = RunConfig
    if place[0] == "task" and len(place) > 1:
        kind = FAMILIES[entry["task"]["family"]].settings
        place = place[1:]
    if len(place) > 1:
        kind = next(_models(kind.model_fields[str(place[0])].annotation))
    return tuple(kind.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
