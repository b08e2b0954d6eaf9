"""The settings of the family."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from oocr.errors import InputError
from oocr.families.asking import Form
from oocr.families.family import Distinct, FamilySettings
from oocr.families.frames.facts import LINKING, Aid
from oocr.families.frames.questions import QuestionKind
from oocr.families.frames.wording import Frame
from oocr.families.frames.world import House, Thing, house


class FramesConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        mode: "joint": all facts are trained, in one task, with a span for each object and moment;
            only the question is in the prompt. "single": a task for each object, trained on the
            facts of its own frame, with the notes on all other objects in the prompt; span
            "object".
        objects: of mode "single", which are reported ("lantern K17"); null: one of each frame.
        frames, each: how many frames, and objects in each.
        told: whether places are told and asked by the compass, or as the walker saw them.
        kinds: what is asked across frames.
        aids: facts that are told beside those that frames show. Without one that links frames
            (trajectory, map, oracle) no question has an answer.
        others: of mode "joint", the share of the cross-frame questions about all but one object of
            each frame that is trained; then only questions about these others are asked.
        wordings: in how many wordings each fact is trained (steps: in as many as there are).
        questions: of each kind and bin of the gap, so many pairs at most; null: all.
        filler: sentences about nothing after each frame, in prompts that hold the notes.
        world: the house's seed.
    """

    family: Literal["frames"] = "frames"
    mode: Literal["joint", "single"] = "joint"
    objects: Distinct[str] | None = Field(default=None, min_length=1)
    frames: int = Field(default=6, ge=2, le=9)
    each: int = Field(default=3, ge=2, le=9)
    told: Frame = "compass"
    kinds: Distinct[QuestionKind] = Field(default=("side", "order"), min_length=1)
    aids: Distinct[Aid] = ("trajectory",)
    others: float = Field(default=0, ge=0, le=1)
    wordings: int = Field(default=3, ge=1, le=5)
    questions: int | None = Field(default=None, ge=1)
    filler: int = Field(default=0, ge=0, le=20)
    form: Form = "chat"
    world: int = 0
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> FramesConfig:
        if self.mode == "joint" and self.objects is not None:
            raise InputError("objects: mode 'joint' has all of them; use mode 'single'")
        if self.mode == "single" and self.others:
            raise InputError("others: mode 'single' trains one object's facts only; leave it out")
        if self.told == "walker" and "map" in self.aids:
            raise InputError("aids: 'map' is told by the compass; leave it out where told: walker")
        if self.told == "walker" and "oracle" in self.aids:
            raise InputError(
                "aids: 'oracle' is told by the compass; leave it out where told: walker"
            )
        names = [thing.name for thing in self.house.things]
        for name in self.objects or ():
            if name not in names:
                raise InputError(f"objects: {name!r} is not in this house; allowed: {names}")
        return self

    @property
    def house(self) -> House:
        """The house that the settings describe."""
        return _house(self.frames, self.each, self.world)

    @property
    def held_out(self) -> tuple[Thing, ...]:
        """One object of each frame, which no trained question across frames is about."""
        return tuple(self.house.seen(view.moment)[0] for view in self.house.viewpoints)

    @property
    def asked_about(self) -> tuple[Thing, ...]:
        """Whom probes are about: of a pair at least one is of these."""
        return self.held_out if self.others else self.house.things

    @property
    def linked(self) -> bool:
        """Whether facts tie the frames together."""
        return any(aid in LINKING for aid in self.aids)


@lru_cache(maxsize=8)
def _house(frames: int, each: int, world: int) -> House:
    return house(frames, each, world)
