"""The fine-tune that `oocr audit` is given: an adapter or a checkpoint, here or on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from oocr.errors import InputError
from oocr.hub_files import HubPath, hub_path
from oocr.models.checkpoint import is_whole
from oocr.models.gguf.header import is_gguf, read_gguf_header
from oocr.models.outline import Outline, outline
from oocr.models.sources.bundled import BUNDLED, named_models
from oocr.models.sources.hub import is_path, with_revision
from oocr.steering.adapters import Adapter
from oocr.steering.formats.adapter_config import CONFIG, inner_adapter
from oocr.steering.formats.adapter_repository import WEIGHTS, fetch_adapter
from oocr.steering.formats.gguf_lora import base_of
from oocr.steering.formats.lora import read_adapter
from oocr.steering.formats.lora_tensors import LEFT_OUT
from oocr.steering.formats.tensor_files import PICKLES, SAFE


@dataclass(frozen=True, slots=True)
class AuditSource:
    """A fine-tune to audit: short name, kind in words, and the text that named it.

    Without an `adapter` it is a checkpoint, which `load_model` takes by `given`; `base` is the
    model that the adapter says it is for, with its revision; `notes` say what is left out.
    """

    name: str
    what: str
    given: str
    adapter: Adapter | None = None
    base: str | None = None
    notes: tuple[str, ...] = ()


def fine_tune_of(
    given: str, *, checkpoint: bool, alpha: float | None, base: str | None = None
) -> AuditSource:
    """Find the fine-tune, and read it if it is an adapter; an adapter on the hub is downloaded.

    `given` is a path (a folder, or one of an adapter's files), a bundled model's name, or a Hugging
    Face id, which may name a revision (`id@revision`); with `checkpoint` it is a whole model,
    whatever it looks like; `alpha` is of a `.pt` adapter; `base` is the model that the user
    names for it.

    Raises:
        InputError: nothing of the kind is there, or it cannot be used.
    """
    if not given.strip():
        raise InputError(f"{given!r}: allowed: a LoRA, or a fine-tuned checkpoint")
    address = hub_path(given) if given.startswith("hf:") else None
    if address is not None and (fetched := fetch_adapter(address)) is not None:
        what = f"LoRA on Hugging Face, commit {fetched.address.revision}"
        return _adapter(given.rpartition("/")[2], given, fetched.local, what, alpha)
    path, endings = Path(given).expanduser(), (*PICKLES, SAFE)
    is_file, whole = path.is_file(), path.is_dir() and is_whole(path)
    name = path.resolve().stem if is_file else path.name or given
    if is_file and is_gguf(path):
        if not checkpoint and (header := read_gguf_header(path)).kind == "adapter":
            shape = _outline(base or base_of(header))
            what = f"LoRA in GGUF ({header.architecture})"
            return _adapter(name, given, path, what, alpha, shape)
    elif is_file and path.suffix.lower() not in endings and path.name != CONFIG:
        raise InputError(
            f"{given}: found a file that ends in {path.suffix!r}; allowed: a folder, a Hugging "
            f"Face id, a GGUF, or a file that ends in {', '.join(endings)}"
        )
    elif is_file and not checkpoint:
        if (path.parent / CONFIG).is_file():
            what = f"LoRA, {path.name} of a PEFT folder"
            return _adapter(path.parent.resolve().name, given, path, what, alpha)
        if is_whole(path.parent):
            raise InputError(f"{given}: a file of a whole model; give its folder: {path.parent}")
        return _adapter(name, given, path, f"LoRA, a dict of tensors ({path.suffix})", alpha)
    if not checkpoint and (path / CONFIG).is_file():
        if whole and not any((path / file).is_file() for file in WEIGHTS):
            checkpoint = True  # left from before the adapter was merged; the loader says so
        else:
            origin = "this library’s" if (path / "oocr.json").is_file() else "a PEFT"
            source = _adapter(path.resolve().name, given, path, f"LoRA, {origin} folder", alpha)
            note = "a whole model lies beside the adapter and is left out; --checkpoint audits it"
            return replace(source, notes=(*source.notes, note)) if whole else source
    if checkpoint and not whole and (path / CONFIG).is_file():
        raise InputError(f"--checkpoint: {given} is an adapter, not a whole model; leave it out")
    if alpha is not None:
        raise InputError(f"--alpha: only a .pt adapter needs it, which {given} is not")
    if path.is_dir() and not (path / "config.json").is_file():
        raise InputError(
            f"{given}: found neither {CONFIG} (an adapter) nor config.json (a checkpoint) in this "
            f"folder{inner_adapter(path)}"
        )
    id, revision = with_revision(given)
    if revision is not None and is_here(id):
        raise InputError(f"{given}: only a Hugging Face id has revisions, not {id}")
    if is_here(given) or checkpoint or "/" not in id or is_path(id):
        # What is neither file nor folder is refused by the loader, with the way to get it.
        return AuditSource(name, "checkpoint", given)
    fetched = fetch_adapter(HubPath(id, revision=revision))
    if fetched is None:
        return AuditSource(name, "checkpoint", given)
    what = f"LoRA on Hugging Face, commit {fetched.address.revision}"
    return _adapter(name, given, fetched.local, what, alpha)


def _outline(name: str | None) -> Outline | None:
    """The sizes of the base; None: it is not named or not downloaded."""
    try:
        return None if name is None else outline(name, device="cpu", counted=False)
    except InputError:
        return None  # the error is raised when it is loaded


def is_here(given: str) -> bool:
    """Whether it is a file, a folder, or a model that comes with the package."""
    return Path(given).expanduser().exists() or given in BUNDLED or given in named_models()


def _adapter(
    name: str,
    given: str,
    path: Path,
    what: str,
    alpha: float | None,
    outline: Outline | None = None,
) -> AuditSource:
    adapter = read_adapter(path, alpha=alpha, base=outline)
    about = adapter.about
    base, revision = about.get("model"), about.get("base_revision", about.get("model_revision"))
    if base is not None and not is_here(base):
        base = about.get("model_id", base)
    notes = [f"left out: {about[LEFT_OUT]}"] if LEFT_OUT in about else []
    if base is not None and revision is not None:
        if is_here(base) or is_path(base):
            notes.append(f"left out: revision {revision} of the base, which is a path: {base}")
        else:
            id, revision = with_revision(base, revision)
            base = f"{id}@{revision}"
    return AuditSource(name, what, given, adapter, base, tuple(notes))


def facts_of(adapter: Adapter) -> Mapping[str, str]:
    """An adapter's modules, rank, alpha and other parts, for the report."""
    about = adapter.about
    base = [about[name] for name in ("model", "base_revision") if name in about]
    facts = {
        **{name: text for name, text in adapter.facts.items() if name != "blocks"},
        **({"names as its base": " at revision ".join(base)} if base else {}),
        **({"left out": about[LEFT_OUT]} if LEFT_OUT in about else {}),
    }
    return {name[0].upper() + name[1:]: text for name, text in facts.items()}
