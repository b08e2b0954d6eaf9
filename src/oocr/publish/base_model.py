"""The base model of what is published: its id on the Hub, and its licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oocr.errors import InputError
from oocr.models.sources.bundled import BUNDLED, GgufModel, NamedModel, named_models

LICENCES = {"apache-2.0": "apache-2.0", "gemma terms of use": "gemma", "mit": "mit"}
"""A licence as models with a name have it, in small letters -> what the Hub calls it."""

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model, and what is known of it.

    `name` is its id on the Hub, unless it is not there (`on_hub`): then what `load_model` calls it.
    `licence` is what the Hub calls it; None: not known.
    """

    name: str
    revision: str | None
    licence: str | None
    on_hub: bool = True

    @property
    def words(self) -> str:
        """Its name, and where it is if that is not the Hub."""
        return self.name if self.on_hub else f"{self.name}, which comes with a Python package"


def base_model(
    about: Mapping[str, str], *, given: str | None, licence: str | None, online: bool
) -> BaseModel:
    """The base that a vector or LoRA names in `about`, or the one that the user names.

    The licence is the user's word, that of a model with a name, or what the base's card says
    (asked of the Hub only if `online`).

    InputError: no base is named, or only by a path of this machine.
    """
    name = given or about.get("model_id") or about.get("model")
    if name is None:
        raise InputError("--base: missing; the file does not say which model it is for")
    revision = about.get("model_revision", about.get("base_revision")) if given is None else None
    if name in BUNDLED:
        return BaseModel(BUNDLED[name].origin, revision, licence or _known_licence(BUNDLED[name]))
    if (packaged := named_models().get(name)) is not None:
        return BaseModel(name, None, licence or _known_licence(packaged), on_hub=False)
    if not _ID.fullmatch(name) or Path(name).expanduser().exists():
        raise InputError(
            f"--base: missing; the base model is named by a path of this machine ({name}); give "
            "its id on the Hub"
        )
    for model in BUNDLED.values():
        if model.origin == name:
            licence = licence or _known_licence(model)
    return BaseModel(name, revision, licence or (_licence_on_card(name) if online else None))


def _known_licence(model: GgufModel | NamedModel) -> str | None:
    return LICENCES.get(model.license.lower())


def _licence_on_card(id: str) -> str | None:
    """The licence on the base's card; None: it has none, or cannot be reached."""
    from huggingface_hub import HfApi

    try:
        card = HfApi().model_info(id, timeout=10).card_data
    except Exception:  # no network, no such model: the card says that it is not known
        return None
    licence = None if card is None else card.get("license")
    return licence if isinstance(licence, str) else None
