"""The fine-tune that `oocr audit` is given: an adapter or a checkpoint, here or on the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from oocr.errors import InputError
from oocr.io import command_line
from oocr.models import hub
from oocr.models.bundled import BUNDLED, named_models
from oocr.models.checkpoint import is_whole
from oocr.models.gguf.header import is_gguf, read_header
from oocr.models.hub import is_path, with_revision
from oocr.models.outline import Outline, outline
from oocr.models.quiet import quiet
from oocr.steering.adapters import Adapter
from oocr.steering.formats.adapter_config import CONFIG
from oocr.steering.formats.foreign import PICKLES, SAFE
from oocr.steering.formats.gguf_lora import base_of
from oocr.steering.formats.lora import LEFT_OUT, WEIGHTS, read_adapter


@dataclass(frozen=True, slots=True)
class AuditSource:
    """What is to be audited: its short name, its kind in words, and as it was given.

    Without an `adapter` it is a checkpoint, which `load_model` takes by `given`; `base` is the
    model that the adapter says it is for, with its revision; `notes` say what is left out.
    """

    name: str
    what: str
    given: str
    adapter: Adapter | None = None
    base: str | None = None
    notes: tuple[str, ...] = ()


def source_of(
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
    path = Path(given).expanduser()
    if not given.strip():
        raise InputError(f"{given!r}: allowed: a LoRA, or a fine-tuned checkpoint")
    adapter_file = path.suffix.lower() in (*PICKLES, SAFE) or path.name == CONFIG
    if path.is_file() and not adapter_file and not is_gguf(path):
        raise InputError(
            f"{given}: found a file that ends in {path.suffix!r}; allowed: a folder, a Hugging "
            f"Face id, a GGUF, or a file that ends in {', '.join((*PICKLES, SAFE))}"
        )
    name = path.resolve().stem if path.is_file() else path.name or given
    if not checkpoint and is_gguf(path) and (header := read_header(path)).kind == "adapter":
        adapter = read_adapter(path, alpha=alpha, base=_outline(base or base_of(header)))
        what = f"LoRA in GGUF ({header.architecture})"
        return AuditSource(name, what, given, adapter, adapter.about.get("model"))
    beside = path.is_file() and (path.parent / CONFIG).is_file()
    if not checkpoint and path.is_file() and (path.name == CONFIG or _is_tensors(path)):
        if not beside and is_whole(path.parent):
            raise InputError(f"{given}: a file of a whole model; give its folder: {path.parent}")
        what = f"LoRA, {path.name} of a PEFT folder"
        return _adapter(
            path.parent.resolve().name if beside else name,
            given,
            path,
            what if beside else f"LoRA, a dict of tensors ({path.suffix})",
            alpha,
        )
    whole = path.is_dir() and is_whole(path)
    if not checkpoint and (path / CONFIG).is_file():
        if whole and not any((path / file).is_file() for file in WEIGHTS):
            checkpoint = True  # left from before the adapter was merged; the loader says so
        else:
            from_here = (path / "oocr.json").is_file()
            what = f"LoRA, {'this library’s' if from_here else 'a PEFT'} folder"
            source = _adapter(path.resolve().name, given, path, what, alpha)
            note = "a whole model lies beside the adapter and is left out; --checkpoint audits it"
            return replace(source, notes=(*source.notes, note)) if whole else source
    if checkpoint and not whole and (path / CONFIG).is_file():
        raise InputError(f"--checkpoint: {given} is an adapter, not a whole model; leave it out")
    if alpha is not None:
        raise InputError(f"--alpha: only a .pt adapter needs it, which {given} is not")
    if path.is_dir() and not (path / "config.json").is_file():
        inner = sorted(file.parent for file in path.glob(f"*/{CONFIG}"))
        hint = f"; did you mean {inner[-1]}?" if inner else ""
        raise InputError(
            f"{given}: found neither {CONFIG} (an adapter) nor config.json (a checkpoint) in this "
            f"folder{hint}"
        )
    id, revision = with_revision(given)
    if is_here(given) or checkpoint or "/" not in id or is_path(id):
        # What is neither file nor folder is refused by the loader, with the way to get it.
        return AuditSource(name, "checkpoint", given)
    folder = _from_hub(id, revision)
    if folder is None:
        return AuditSource(name, "checkpoint", given)
    return _adapter(name, given, folder, f"LoRA on Hugging Face, commit {folder.name}", alpha)


def _outline(name: str | None) -> Outline | None:
    """The shape of the base; None: it is not named, or not here."""
    try:
        return None if name is None else outline(name, device="cpu", counted=False)
    except InputError:
        return None  # told when it is to be loaded


def _is_tensors(path: Path) -> bool:
    return path.suffix.lower() in (*PICKLES, SAFE)


def is_here(given: str) -> bool:
    """Whether it is a file, a folder, or a model that comes with the package."""
    return Path(given).expanduser().exists() or given in BUNDLED or given in named_models()


def _adapter(name: str, given: str, path: Path, what: str, alpha: float | None) -> AuditSource:
    adapter = read_adapter(path, alpha=alpha)
    about = adapter.about
    base, revision = about.get("model"), about.get("base_revision", about.get("model_revision"))
    if base is not None and not is_here(base):
        base = about.get("model_id", base)
    notes = [f"left out: {about[LEFT_OUT]}"] if LEFT_OUT in about else []
    if base is not None and revision is not None:
        if is_here(base) or is_path(base):
            notes.append(f"left out: revision {revision} of the base, which is a path: {base}")
        else:
            base = f"{base}@{revision}"
    return AuditSource(name, what, given, adapter, base, tuple(notes))


def _from_hub(id: str, revision: str | None) -> Path | None:
    """The adapter's files in the local cache, downloaded if need be; None: no adapter is there."""
    from huggingface_hub import snapshot_download

    folder = hub.cached(id, revision=revision, files=[CONFIG, *WEIGHTS])
    if folder is not None:
        if (folder / CONFIG).is_file() and any((folder / file).is_file() for file in WEIGHTS):
            return folder
        if (folder / "config.json").is_file():
            return None
    commit, names = hub.ask(id, revision=revision, here="is no file or folder and not")
    if CONFIG not in names:
        return None
    weights = next((file for file in WEIGHTS if file in names), None)
    if weights is None and "config.json" in names:
        return None
    if weights is None:
        raise InputError(f"{id} on Hugging Face: found neither {' nor '.join(WEIGHTS)}")
    try:
        with quiet():
            return Path(snapshot_download(id, revision=commit, allow_patterns=[CONFIG, weights]))
    except Exception as error:  # the HTTP library's errors: no network, a full disk, …
        raise InputError(
            f"{id!r} cannot be had from Hugging Face ({type(error).__name__}: {error}). "
            f"Get it with: {command_line(['hf', 'download', id])} (or give the folder of a copy)"
        ) from error


def facts_of(adapter: Adapter) -> Mapping[str, str]:
    """An adapter's modules, rank, alpha and other parts, for the report."""
    config, about = adapter.config, adapter.about
    modules = sorted({name.rsplit(".", 1)[-1] for name in config["target_modules"]})
    ranks = sorted({config["r"], *config.get("rank_pattern", {}).values()})
    flags = {"use_rslora": "rsLoRA", "use_dora": "DoRA", "lora_bias": "a bias after B"}
    more = [word for flag, word in flags.items() if config.get(flag)]
    alphas = Counter(config.get("alpha_pattern", {}).values())
    by_pattern = [
        f"{alpha:g} in {count} modules (alpha_pattern)" for alpha, count in alphas.items()
    ]
    base = [about[name] for name in ("model", "base_revision") if name in about]
    return {
        "Modules": ", ".join(modules),
        "Rank": ", ".join(map(str, ranks)),
        "Alpha": "; ".join([about.get("alpha", f"{config.get('lora_alpha', '?')}"), *by_pattern]),
        **({"Besides B A": ", ".join(more)} if more else {}),
        **({"Names as its base": " at revision ".join(base)} if base else {}),
        **({"Left out": about[LEFT_OUT]} if LEFT_OUT in about else {}),
    }
