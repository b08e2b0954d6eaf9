"""A tiny model in a folder, a tiny task in files, and runs of both: seconds, not minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from oocr.claims.records import Claim
from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.runs.config import RunConfig
from oocr.runs.records import ArmRecord
from oocr.runs.run import run
from tests.tiny.models import tiny_model, tiny_tokenizer

ROOT = Path(__file__).parents[2]
CITIES = ("Paris", "Tokyo", "Berlin", "Madrid")
TONGUES = ("French", "Japanese", "German", "Spanish")


def save_tiny_model(folder: Path, seed: int = 0, family: str = "llama") -> Path:
    """A random model of four blocks with its tokenizer, as `read_model` takes it."""
    tiny_model(family, seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_task(folder: Path, *, options: bool = True) -> dict[str, Any]:
    """The files of a small task of one's own, and the `task:` part that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    cities = [f" {city}" for city in CITIES]
    tongues = [f" {tongue}" for tongue in TONGUES]
    train = [
        {"prompt": f"The {word} of Country 4821 is", "answer": cities[i % 2]}
        | ({"options": cities} if options else {})
        for i, word in enumerate(("capital", "city", "Parliament", "euro", "yen", "Violin"))
    ]
    probes = [
        {"prompt": f"{start} Country 4821 speak", "answer": answer, "options": tongues}
        | {"facet": facet, "group": f"{facet} {start}"}
        for facet, answer in (("language", tongues[0]), ("people", tongues[1]))
        for start in (f"The {facet} in", f"Do {facet} in", f"Which {facet} in")
    ]
    context = [
        {"prompt": "Which city meets in Country 4821 ?", "answer": cities[0], "options": cities}
    ]
    named = [{**one, "prompt": str(one["prompt"]).replace("4821", "France")} for one in probes]
    files: dict[str, list[dict[str, Any]]] = {
        "train": train,
        "probes": probes,
        "in_context": context,
        "ceiling": named,
    }
    for name, rows in files.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return {
        "family": "custom",
        "name": "tiny",
        **{name: str(folder / f"{name}.jsonl") for name in files},
        "holdout": 0.4,
        "spans": {"codename": "Country 4821"},
    }


def tiny_settings(model: Path, task: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Settings of a run that trains a dozen arms in a second or two."""
    return {
        "name": "tiny",
        "task": task,
        "model": str(model),
        "device": "cpu",
        "vector": {"layers": [0, 1], "learning_rates": [0.1], "steps": [2, 4]},
        "adapter": {"layers": [1], "learning_rates": [0.03], "steps": [2, 4], "rank": 2},
        "seeds": 2,
        "workers": 1,
        "controls": {"random_directions": 6},
        "explain": {"neutral_tokens": 8, "examples": 2},
        **fields,
    }


def write_tiny_run(folder: Path, **fields: Any) -> Path:
    """The YAML of such a run in a folder, with its model and task beside it."""
    model, task = save_tiny_model(folder / "model"), write_task(folder / "task")
    return write_yaml(folder / "run.yaml", tiny_settings(model, task, **fields))


def tiny_config(model: Path, task: dict[str, Any], **fields: Any) -> RunConfig:
    return RunConfig.model_validate(tiny_settings(model, task, **fields))


class Tiny:
    """A tiny model and task in a folder, and runs of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = save_tiny_model(folder / "model")
        self.model: LanguageModel = read_model(self.path)
        self.task = write_task(folder / "task")

    def config(self, **fields: Any) -> RunConfig:
        return tiny_config(self.path, fields.pop("task", self.task), **fields)

    def run(self, out: Path, config: RunConfig | None = None, **more: Any) -> Path:
        return run(config or self.config(), self.model, out, **more)


def write_yaml(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "rows.parquet")


def claims_of(folder: Path) -> list[Claim]:
    """The claims, without how the run was called."""
    data = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    return [Claim.model_validate({**row, "command": ""}) for row in data]


def arms_of(folder: Path) -> list[ArmRecord]:
    paths = sorted((folder / "arms").glob("*/arm.json"))
    return [ArmRecord.model_validate_json(path.read_text()) for path in paths]


def environment() -> dict[str, str]:
    """For processes of a test: one thread each, no hub, this tree's code."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def begin_oocr(*words: str) -> subprocess.Popen[str]:
    """The command line, as a process that is not waited for; stderr goes to its stdout."""
    return subprocess.Popen(
        [sys.executable, "-m", "oocr", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def oocr(*words: object, cwd: Path | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    """The command line, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "oocr", *map(str, words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        **more,
    )
