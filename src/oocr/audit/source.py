"""The fine-tune that `oocr audit` is given: an adapter or a checkpoint, here or on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oocr.errors import InputError
from oocr.io import command_line
from oocr.models import hub
from oocr.models.bundled import BUNDLED, named_models
from oocr.models.gguf_header import is_gguf, read_header
from oocr.models.quiet import quiet
from oocr.steering.adapters import Adapter
from oocr.steering.formats.foreign import PICKLES, SAFE
from oocr.steering.formats.gguf_lora import read_gguf_lora
from oocr.steering.formats.lora import WEIGHTS, read_adapter

CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class AuditSource:
    """What is to be audited: its short name, its kind in words, and as it was given.

    Without an `adapter` it is a checkpoint, which `load_model` takes by `given`; `base` is the
    model that the adapter says it is for.
    """

    name: str
    what: str
    given: str
    adapter: Adapter | None = None
    base: str | None = None


def source_of(given: str, *, checkpoint: bool, alpha: float | None) -> AuditSource:
    """Find the fine-tune, and read it if it is an adapter; an adapter on the hub is downloaded.

    `given` is a path, a bundled model's name, or a Hugging Face id; with `checkpoint` it is a whole
    model, whatever it looks like; `alpha` is of a `.pt` adapter.

    Raises:
        InputError: nothing of the kind is there, or it cannot be used.
    """
    path = Path(given).expanduser()
    name = path.resolve().stem if path.is_file() else path.name or given
    if not checkpoint and path.is_file() and path.suffix.lower() in (*PICKLES, SAFE):
        return _adapter(name, given, path, f"LoRA, a dict of tensors ({path.suffix})", alpha)
    if not checkpoint and is_gguf(path) and (header := read_header(path)).kind == "adapter":
        if alpha is not None:
            raise InputError(f"--alpha: found {alpha}; {given} is a GGUF, which says it")
        adapter = read_gguf_lora(path)
        base = adapter.about.get("model")
        return AuditSource(name, f"LoRA in GGUF ({header.architecture})", given, adapter, base)
    if not checkpoint and (path / CONFIG).is_file():
        from_here = (path / "oocr.json").is_file()
        what = f"LoRA, {'this library’s' if from_here else 'a PEFT'} folder"
        return _adapter(path.resolve().name, given, path, what, alpha)
    if alpha is not None:
        raise InputError(f"--alpha: only a .pt adapter needs it, which {given} is not")
    if path.is_dir() and not (path / "config.json").is_file():
        raise InputError(
            f"{given}: found neither {CONFIG} (an adapter) nor config.json (a checkpoint) in this "
            "folder"
        )
    if is_here(given) or checkpoint or not _is_id(given):
        # What is neither file nor folder is refused by the loader, with the way to get it.
        return AuditSource(name, "checkpoint", given)
    folder = _from_hub(given)
    if folder is None:
        return AuditSource(name, "checkpoint", given)
    return _adapter(name, given, folder, f"LoRA on Hugging Face, commit {folder.name}", alpha)


def is_here(given: str) -> bool:
    """Whether it is a file, a folder, or a model that comes with the package."""
    return Path(given).expanduser().exists() or given in BUNDLED or given in named_models()


def _adapter(name: str, given: str, path: Path, what: str, alpha: float | None) -> AuditSource:
    adapter = read_adapter(path, alpha=alpha)
    about = adapter.about
    base = about.get("model")
    known = base is None or is_here(base)
    if not known:
        base = about.get("model_id", base)
    return AuditSource(name, what, given, adapter, base)


def _is_id(given: str) -> bool:
    return given.count("/") == 1 and not given.startswith(("/", ".", "~"))


def _from_hub(given: str) -> Path | None:
    """The adapter's files in the local cache, downloaded if need be; None: no adapter is there."""
    from huggingface_hub import snapshot_download

    folder = hub.cached(given, files=[CONFIG, *WEIGHTS])
    if folder is not None:
        if (folder / CONFIG).is_file() and any((folder / file).is_file() for file in WEIGHTS):
            return folder
        if (folder / "config.json").is_file():
            return None
    commit, names = hub.ask(given, here="is no file or folder and not")
    if CONFIG not in names:
        return None
    weights = next((file for file in WEIGHTS if file in names), None)
    if weights is None:
        raise InputError(f"{given} on Hugging Face: found neither {' nor '.join(WEIGHTS)}")
    try:
        with quiet():
            return Path(snapshot_download(given, revision=commit, allow_patterns=[CONFIG, weights]))
    except Exception as error:  # the HTTP library's errors: no network, a full disk, …
        raise InputError(
            f"{given!r} cannot be had from Hugging Face ({type(error).__name__}: {error}). "
            f"Get it with: {command_line(['hf', 'download', given])} (or give the folder of a copy)"
        ) from error


def facts_of(adapter: Adapter) -> Mapping[str, str]:
    """An adapter's modules, rank, alpha and other parts, for the report."""
    config = adapter.config
    modules = sorted({name.rsplit(".", 1)[-1] for name in config["target_modules"]})
    ranks = sorted({config["r"], *config.get("rank_pattern", {}).values()})
    flags = {"use_rslora": "rsLoRA", "use_dora": "DoRA", "lora_bias": "a bias after B"}
    more = [word for flag, word in flags.items() if config.get(flag)]
    return {
        "Modules": ", ".join(modules),
        "Rank": ", ".join(map(str, ranks)),
        "Alpha": adapter.about.get("alpha", f"{config.get('lora_alpha', '?')}"),
        **({"Besides B A": ", ".join(more)} if more else {}),
    }
