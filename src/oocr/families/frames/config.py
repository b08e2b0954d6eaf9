"""Settings of the frames family."""

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
from oocr.families.frames.world import House, PlacedObject, make_house


class FramesConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        mode: "joint": all facts are trained, in one task, with a span for each object and moment;
            only the question is in the prompt. "single": a task for each object, trained on the
            facts of its own frame, with the notes on all other objects in the prompt; span
            "object".
        objects: names of the objects that are reported ("lantern K17"), only in mode "single";
            null: one of each frame.
        frames, each: number of frames, and of objects in each frame.
        told: frame of reference of facts and questions: "compass", or "walker" (left, ahead, … of
            the walker).
        kinds: kinds of questions across frames.
        aids: facts trained in addition to what the frames show. Without an aid that links frames
            (trajectory, map, oracle) no question across frames has an answer.
        others: share of the cross-frame questions that is trained, only in mode "joint". One object
            of each frame is held out: no trained question is about it, and each probe is.
        wordings: number of wordings in which each fact is trained (steps: all wordings).
        questions: largest number of pairs for each kind and each bin of the gap; null: all.
        filler: number of unrelated sentences after each frame, in prompts that hold the notes.
        world: seed of the house.
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
            raise InputError("aids: 'map' uses the compass; leave it out with told: walker")
        if self.told == "walker" and "oracle" in self.aids:
            raise InputError("aids: 'oracle' uses the compass; leave it out with told: walker")
        names = [obj.name for obj in self.house.objects]
        for name in self.objects or ():
            if name not in names:
                raise InputError(f"objects: {name!r} is not in this house; allowed: {names}")
        return self

    @property
    def house(self) -> House:
        """The house that the settings describe."""
        return _house(self.frames, self.each, self.world)

    @property
    def held_out(self) -> tuple[PlacedObject, ...]:
        """One object of each frame; no trained question across frames is about it."""
        return tuple(self.house.seen(view.moment)[0] for view in self.house.viewpoints)

    @property
    def asked_about(self) -> tuple[PlacedObject, ...]:
        """Objects of the probes: each probe is about at least one of these."""
        return self.held_out if self.others else self.house.objects

    @property
    def linked(self) -> bool:
        """Whether the trained facts link the frames to each other."""
        return any(aid in LINKING for aid in self.aids)


@lru_cache(maxsize=8)
def _house(frames: int, each: int, world: int) -> House:
    return make_house(frames, each, world)
