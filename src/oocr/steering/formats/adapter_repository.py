"""A LoRA in a repository of the Hub: only its config and its weights are fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from oocr.errors import InputError
from oocr.hub_files import HubFile, HubPath, refusal
from oocr.models.quiet import quiet
from oocr.models.sources import hub
from oocr.steering.formats.adapter_config import CONFIG

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
OURS = "oocr.json"
"""This library's own file beside them: texts of spans, and the LoRA's origin."""


def fetch_adapter(address: HubPath) -> HubFile | None:
    """The folder of a LoRA in the local cache, downloaded if need be; None: no LoRA is there.

    Raises:
        InputError: no such repository or revision, no access to it, or a LoRA without weights.
    """
    from huggingface_hub import snapshot_download

    inside = f"{address.path}/" if address.path else ""
    config, weights = inside + CONFIG, [inside + name for name in WEIGHTS]
    folder = hub.cached(address.id, revision=address.revision, files=[config, *weights])
    if folder is not None:
        if (folder / config).is_file() and any((folder / file).is_file() for file in weights):
            return _in(folder, address)
        if not inside and (folder / "config.json").is_file():
            return None
    commit, names = hub.ask(
        address.id, revision=address.revision, here="is no file or folder and not"
    )
    if config not in names:
        return None
    file = next((file for file in weights if file in names), None)
    if file is None and "config.json" in names:
        return None
    if file is None:
        raise InputError(f"{address.id} on Hugging Face: found neither {' nor '.join(weights)}")
    try:
        with quiet():
            wanted = [config, file, inside + OURS]
            folder = Path(snapshot_download(address.id, revision=commit, allow_patterns=wanted))
    except Exception as error:  # the HTTP library's errors: no network, a full disk, …
        raise refusal(address, error) from error
    return _in(folder, address)


def _in(folder: Path, address: HubPath) -> HubFile:
    place = folder / address.path if address.path else folder
    return HubFile(place, replace(address, revision=folder.name))
