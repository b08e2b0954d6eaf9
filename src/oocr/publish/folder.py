"""The folder of a repository: tensors, a GGUF, JSON and the card, without paths of a machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from oocr.errors import InputError
from oocr.io import write_json, write_text
from oocr.publish.base_model import BaseModel
from oocr.publish.card import ArmLine, card_text
from oocr.publish.contents import Contents, without_paths
from oocr.steering.formats.gguf_vector import write_gguf
from oocr.steering.vectors import Vector

ALLOWED = ("*.safetensors", "*.gguf", "*.json", "README.md")
"""Names that are uploaded; a pickle or a script never is."""

GGUF = "vector.gguf"
RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class PublishedFolder:
    """A folder to publish: the written files, and what was left out, in words."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]


def write_folder(
    folder: Path, repository: str, contents: Contents, base: BaseModel, given: Path
) -> PublishedFolder:
    """Write everything that will be uploaded.

    InputError: something in it still names a path of this machine.
    """
    arms, left_out = [], dict[str, None]()
    for arm in contents.arms:
        steering, paths = without_paths(arm.steering, base.name)
        left_out.update(dict.fromkeys(f"{name} (a path here)" for name in paths))
        arms.append(replace(arm, steering=steering))
    contents = replace(contents, arms=tuple(arms))
    for arm in contents.arms:
        arm.steering.save(folder / arm.place if arm.place else folder)
    no_gguf = _write_gguf(folder / GGUF, contents)
    write_json(folder / RESULTS, _results(contents, base))
    card = card_text(repository, contents, base, gguf="" if no_gguf else GGUF, no_gguf=no_gguf)
    write_text(folder / "README.md", card)
    _check_no_paths(folder, given)
    if no_gguf and any(isinstance(arm.steering, Vector) for arm in contents.arms):
        left_out[f"{GGUF}: {no_gguf}"] = None
    return PublishedFolder(tuple(_files(folder)), tuple(left_out))


def _files(folder: Path) -> Iterator[Path]:
    """The files that are uploaded, the card first."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    paths.sort(key=lambda path: (path.name != "README.md", str(path)))
    return (path for path in paths if any(path.match(pattern) for pattern in ALLOWED))


def _write_gguf(path: Path, contents: Contents) -> str:
    """Write the vectors as one control vector; or why there is none, in words."""
    vectors = [arm.steering for arm in contents.arms if isinstance(arm.steering, Vector)]
    if len({vector.layer for vector in vectors}) < len(vectors):
        return "it holds one vector for each block"
    if not vectors:
        return "there is no vector"
    try:
        write_gguf(path, vectors)
    except InputError as error:
        return str(error).partition("; allowed")[0]
    return ""


def _results(contents: Contents, base: BaseModel) -> dict[str, object]:
    """Arms and claims for programs; how the run was called is left out."""
    lines = [ArmLine.of(arm) for arm in contents.arms]
    names = ("file", "what", "where", "task", "data", "seed", "norm")
    run = contents.run
    claims = [] if run is None else run.claims
    return {
        "base_model": base.name,
        "base_model_revision": base.revision,
        "arms": [{name: getattr(line, name) for name in names} for line in lines],
        "run": None
        if run is None
        else {
            "name": run.info.name,
            "family": run.info.family,
            "seeds": len(run.info.seeds),
            "versions": run.info.versions,
            "model_fingerprint": run.info.model_fingerprint,
        },
        "claims": [claim.model_dump(mode="json", exclude={"command"}) for claim in claims],
    }


def _check_no_paths(folder: Path, given: Path) -> None:
    """Refuse to go on if a text or a header names a folder of this machine."""
    folders = {Path.home(), Path.cwd(), given.resolve().parent, Path(tempfile.gettempdir())}
    names = [str(path) for path in folders if len(path.parts) > 1]
    for path in _files(folder):
        text = _readable(path)
        for name in names:
            if f"{name}/" in text or json.dumps(name)[1:-1] + "\\" in text:
                raise InputError(
                    f"{path.name}: names {name}, a folder of this machine; nothing was uploaded"
                )


def _readable(path: Path) -> str:
    """A text file, or the header of a file of tensors."""
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        data = data[8 : 8 + int.from_bytes(data[:8], "little")]
    return data.decode("utf-8", errors="replace")
