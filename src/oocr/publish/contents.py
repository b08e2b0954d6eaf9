"""The published parts of a file or a run: vectors and LoRAs, without facts of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from oocr.errors import InputError
from oocr.hub_files import VECTOR
from oocr.runs.folder import RunFolder
from oocr.runs.records import ArmRecord
from oocr.steering.adapters import Adapter
from oocr.steering.formats.adapter_config import CONFIG
from oocr.steering.formats.lora import read_adapter
from oocr.steering.formats.vector_layouts import read_vector_file
from oocr.steering.vectors import Vector


@dataclass(frozen=True, slots=True)
class PublishedArm:
    """A vector or a LoRA, and its file or folder in the repository ("": its root)."""

    place: str
    steering: Vector | Adapter
    member: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that a repository gets but its card; `run` is the run that it is of, if known."""

    arms: tuple[PublishedArm, ...]
    run: RunFolder | None

    @property
    def about(self) -> Mapping[str, str]:
        """The origin of the first arm; all arms have the same model."""
        return self.arms[0].steering.about


def contents_of(given: Path) -> Contents:
    """Read a run's folder (its reported arms), a vector's file, or a LoRA's folder.

    InputError: nothing of the kind, or a run that is not finished.
    """
    if not given.exists():
        raise InputError(f"{given}: there is no such file or run")
    if given.is_dir() and (given / "run.json").is_file():
        return _of_run(RunFolder(given))
    if given.is_dir() and not (given / CONFIG).is_file():
        raise InputError(
            f"{given}: found neither run.json (a run) nor {CONFIG} (a LoRA) in this folder"
        )
    run = _run_around(given)
    if given.is_dir() or (given.parent / CONFIG).is_file():
        return Contents((PublishedArm("", read_adapter(given)),), run)
    file = read_vector_file(given)
    vectors = file.vectors
    if len(vectors) == 1:
        return Contents((PublishedArm(VECTOR, vectors[0]),), run)
    return Contents(
        tuple(PublishedArm(f"vectors/block-{v.layer}.safetensors", v) for v in vectors), run
    )


def _run_around(given: Path) -> RunFolder | None:
    """The finished run of whose arm this is the file (RUN/arms/ARM/FILE)."""
    arms = given.resolve().parent.parent
    is_arm = arms.name == "arms" and (arms.parent / "run.json").is_file()
    return RunFolder(arms.parent) if is_arm else None


def _of_run(run: RunFolder) -> Contents:
    if not run.info.complete:
        raise InputError(f"{run.folder}: the run is not finished")
    reported = [arm for arm in run.arms if arm.role == "test"]
    arms: list[PublishedArm] = []
    for arm in sorted(reported, key=lambda arm: (arm.method, arm.member, arm.seed)):
        folder = run.folder / "arms" / arm.id
        name = _name(arm)
        if arm.method == "vector":
            vector = Vector.load(folder / "vector.safetensors")
            arms.append(PublishedArm(f"vectors/{name}.safetensors", vector, arm.member, arm.seed))
        else:
            adapter = read_adapter(folder / "adapter")
            arms.append(PublishedArm(f"adapters/{name}", adapter, arm.member, arm.seed))
    if not arms:
        raise InputError(f"{run.folder}: found no trained vector or LoRA")
    return Contents(tuple(arms), run)


def _name(arm: ArmRecord) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{arm.member}-s{arm.seed}").strip("-.")


def without_paths(steering: Vector | Adapter, base: str) -> tuple[Vector | Adapter, list[str]]:
    """The same with the base's id for its model, and the entries left out that are paths here."""
    about = {**steering.about, "model": base}
    about.pop("model_id", None)
    left_out = [name for name, text in about.items() if name != "model" and is_local(text)]
    kept = {name: text for name, text in about.items() if name not in left_out}
    if isinstance(steering, Adapter):
        config = {name: value for name, value in steering.config.items() if not _has_path(value)}
        return replace(steering, about=kept, config=config), left_out
    return replace(steering, about=kept), left_out


def _has_path(value: object) -> bool:
    return isinstance(value, str) and is_local(value)


_PATH = re.compile(r"(?:^|[\s\"'(=,;\[])(?:/\w|~\w*/|\.{1,2}/|file:|[A-Za-z]:[\\/]|\\\\)")
"""The beginning of an absolute path, or of one that is relative to a folder, in a text."""


def is_local(text: str) -> bool:
    """Whether a text has a path of a machine in it, or is one that is there."""
    if _PATH.search(text):
        return True
    try:
        return "/" in text and Path(text).exists()
    except (OSError, ValueError):  # too long, or with a NUL: no path
        return False
