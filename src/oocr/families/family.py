"""A task family: everything that the rest of the package needs of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel

from oocr.claims.judge import ClaimRow
from oocr.claims.run_claims import COMMON
from oocr.errors import InputError
from oocr.tasks.task import TaskSet


class FamilySettings(BaseModel, extra="forbid", frozen=True):
    """Base of the settings of a family: the keys below `task:` in a run's YAML.

    A family's own class sets `family: Literal["name"] = "name"` and adds its fields.
    """

    family: str


S = TypeVar("S", bound=FamilySettings)
H = TypeVar("H", bound=Hashable)


def _each_once(values: tuple[H, ...]) -> tuple[H, ...]:
    if repeated := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
        raise InputError(f"{', '.join(map(str, repeated))} is there twice")
    return values


Distinct = Annotated[tuple[H, ...], AfterValidator(_each_once)]
"""A setting that lists several names, each once."""


def check_reported_apart(
    field: str, reported: Iterable[str], validation: Iterable[str], what: str
) -> None:
    """Refuse members that are reported and also choose the settings."""
    if both := sorted(set(reported) & set(validation)):
        raise InputError(
            f"{field} share {', '.join(both)}; a {what} that chose the settings cannot also be "
            "reported"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Members(Generic[S]):
    """How `oocr.load_task` finds one member of a family.

    `keyword` is what it calls the member ("country"); `settings` puts the member that is named into
    `TaskSet.test`; `default` is the member if none is named, "" the first of `TaskSet.test`.
    """

    keyword: str = "member"
    settings: Callable[[str], Mapping[str, Any]] = field(default=lambda _: {})
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family(Generic[S]):
    """A task family. Only the first four fields are required.

    Attributes:
        about: one line for `oocr tasks`.
        build: settings and the folder that relative paths start from -> all its tasks.
        quick: settings -> the fields that `oocr run --quick` changes.
        resolve: settings, the configuration's folder and the model's name -> settings with
            nothing left open (full paths, the model's world).
        files: resolved settings -> the user's files that the tasks are read from.
        run_name: settings -> the name of a run that has none in its YAML.
        concepts: settings -> concept -> words, of which a reader chooses one for each vector; the
            members are among the concepts. Empty: the members have no words.
        real_names: settings -> member -> the real name that its codename stands for. Empty: the
            codenames stand for nothing that has a name.
        spare_questions: settings and facets -> questions of these facets about the codename, in
            wordings that no probe uses, each with the codename as it is written there.
        claims: the rows of its table of claims; a row whose finding is None does not apply.
        model: the model of a run that names none; "": the usual one.
        spans_may_lack: whether questions may lack the span that a vector is added at.
        template: a YAML file to start from, printed by `oocr tasks --template`.
    """

    name: str
    about: str
    settings: type[S]
    build: Callable[[S, Path], TaskSet]
    members: Members[S] = field(default_factory=lambda: Members())
    quick: Callable[[S], Mapping[str, Any]] = lambda _: {}
    resolve: Callable[[S, Path, str], S] = lambda settings, _folder, _model: settings
    files: Callable[[S], Sequence[Path]] = lambda _: ()
    run_name: Callable[[S], str] = lambda settings: settings.family
    concepts: Callable[[S], Mapping[str, tuple[str, ...]]] = lambda _: {}
    real_names: Callable[[S], Mapping[str, str]] = lambda _: {}
    spare_questions: Callable[[S, Sequence[str]], Mapping[str, str]] = lambda _, _facets: {}
    claims: tuple[ClaimRow, ...] = COMMON
    model: str = ""
    spans_may_lack: bool = False
    template: Path | None = None
