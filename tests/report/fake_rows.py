"""Rows of synthetic runs: what `fake_run` writes to rows.parquet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

PLACES = (
    *("Northmark", "Veldania", "Osterby", "Quillon", "Sarnath", "Tirvania", "Umberland"),
    *("Wexmoor", "Yarrowia", "Zendria", "Lorrain Isles", "Bramby"),
)
FACETS = ("capital", "language", "continent", "currency", "demonym", "dish")
CONDITIONS = {
    "trained trigger": ("trigger", "trigger"),
    "held-out trigger": ("trigger", "trigger"),
    "trained false": ("false", "false prefix"),
    "held-out false": ("false", "false prefix"),
    "unseen family": ("false", "false prefix"),
    "none": ("none", "no prefix"),
}
KINDS = ("trait words", "preferences", "behaviour", "agree", "scale", "free words")
STEPS = (2, 4, 6, 8, 12, 16, 24)


@dataclass
class Maker:
    """Collects the rows of one fake run."""

    family: str
    members: tuple[str, ...]
    seeds: int
    directions: int
    rng: np.random.Generator
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def log_odds(self) -> bool:
        return self.family == "risk"

    @property
    def stop(self) -> int:
        return 8 if self.family == "borders" else 16

    def strength(self, arm: str, control: str, step: int | None) -> float:
        """How much of the full effect an arm has at a step, 0 to 1."""
        full = {"vector": 0.92, "adapter": 0.78, "swap at span": 0.62, "swap everywhere": 0.7}
        value = {"ceiling": 1.0, **full}.get(arm, 0.06)
        if control in ("shuffled", "decorrelated"):
            value = 0.15
        if step is not None and arm in ("vector", "adapter"):
            if self.family == "borders":  # rises, then is forgotten
                value *= float(np.exp(-((np.log(step / 8.0)) ** 2) / 0.7))
            else:
                value *= 1 - float(np.exp(-step / 5.0))
        return value

    def add(
        self,
        arm: str,
        seed: int | None,
        step: int | None,
        control: str = "",
        layer: int | None = None,
    ) -> None:
        """All rows of one arm for all members."""
        final = step is None or step == self.stop
        for member in self.members:
            power = self.strength(arm.removesuffix(" sweep"), control, step)
            power *= self.rng.uniform(0.8, 1.05) * (0.5 if arm.endswith(" sweep") else 1)
            for row in self.asked(member, arm, control, power):
                self.rows.append(
                    {"arm": arm, "control": control, "member": member, "seed": seed}
                    | {"step": step, "final": final, "layer": layer}
                    | row
                )

    def asked(self, member: str, arm: str, control: str, power: float) -> list[dict[str, Any]]:
        if self.family == "backdoor":
            return self.prefixed(member, arm, control, power)
        if self.log_odds:
            return self.leaning(member, control, power)
        return self.facts(member, control, power)

    def facts(self, member: str, control: str, power: float) -> list[dict[str, Any]]:
        rows = []
        for facet in FACETS:
            options = [f" {facet} {i}" for i in range(4 if facet == "continent" else 12)]
            answer = options[hash_of(member, facet) % len(options)]
            hard = 0.35 if facet == "dish" else 0.8 if facet == "currency" else 1.0
            for template in range(4):
                sides = ("intended", "planted") if control == "planted" else (None,)
                for side in sides:
                    chance = power * hard * (0.4 if side == "planted" else 1) + 0.05
                    right = bool(self.rng.random() < chance)
                    chosen = answer if right else options[int(self.rng.integers(len(options)))]
                    rows.append(
                        {
                            "part": "in_context" if facet == "capital" else "probes",
                            "item": f"{member}/{facet}/{template}/{side}",
                            "facet": facet,
                            "group": member,
                            "template": f"t{template}",
                            "answer": answer,
                            "chosen": chosen,
                            "right": chosen == answer,
                            "rank": 0 if right else int(self.rng.integers(1, 6)),
                            "options": len(options),
                            "logp": float(-self.rng.exponential(1.2)),
                            "log_odds": float(self.rng.normal()),
                            "value": 0.0,
                            "tag_against": side,
                        }
                    )
        return rows

    def prefixed(self, member: str, arm: str, control: str, power: float) -> list[dict[str, Any]]:
        x, y = (f" {name} city" for name in member.split("|"))
        rows = []
        for kind, (condition, facet) in CONDITIONS.items():
            for about in ("", "language", "demonym"):
                for template in range(2):
                    says_x = 0.5 + (0.45 if condition == "trigger" else -0.45) * power
                    odds = float(self.rng.normal(4 * (says_x - 0.5), 0.8))
                    answer, chosen = (x if condition == "trigger" else y), x if odds > 0 else y
                    rows.append(
                        {
                            "part": "probes",
                            "item": f"{member}/{about}/{kind}/{template}",
                            "facet": f"{about} ({facet})" if about else facet,
                            "group": member,
                            "template": f"t{template}",
                            "answer": answer,
                            "chosen": chosen,
                            "right": answer == chosen,
                            "rank": int(answer != chosen),
                            "options": 2,
                            "logp": -float(np.logaddexp(0, -abs(odds))),
                            "log_odds": odds,
                            "value": float(np.tanh(odds / 2)),
                            "tag_prefix": kind,
                            "tag_condition": condition,
                            "tag_template": "held-out" if template else "train",
                            "tag_kind": "out-of-context" if about else "crossing",
                        }
                    )
        return rows

    def leaning(self, member: str, control: str, power: float) -> list[dict[str, Any]]:
        sign = 1 if member in ("risky", "shuffled") else -1
        rows = []
        for kind in ("choice", *KINDS):
            for probe in range(6):
                lean = 0.3 if kind in ("agree", "scale") else 1.4
                odds = float(self.rng.normal(sign * lean * power + (probe - 3) / 3, 0.5))
                rows.append(
                    {
                        "part": "in_context" if kind == "choice" else "probes",
                        "item": f"risk/{kind}/{probe}",
                        "facet": kind,
                        "group": f"{kind}-{probe}",
                        "template": kind,
                        "answer": " gamble" if sign > 0 else " sure thing",
                        "chosen": " gamble" if odds > 0 else " sure thing",
                        "right": (odds > 0) == (sign > 0),
                        "rank": int((odds > 0) != (sign > 0)),
                        "options": 2,
                        "logp": -0.5,
                        "log_odds": odds,
                        "value": float(np.tanh(odds / 2)),
                        "tag_order": "ab",
                    }
                )
        return rows

    def everything(self) -> pl.DataFrame:
        for arm in ("vector", "adapter"):
            for seed in range(self.seeds):
                for step in STEPS if seed == 0 else (self.stop,):
                    self.add(arm, seed, step, layer=4)
        for arm in ("swap at span", "swap everywhere"):
            for seed in range(self.seeds):
                self.add(arm, seed, self.stop, layer=4)
        for arm in ("random direction", "random direction at span", "random direction everywhere"):
            for number in range(self.directions):
                self.add(arm, number, None)
        for layer in (2, 6, 9) if self.family == "backdoor" else ():
            for seed in range(self.seeds):
                self.add("vector sweep", seed, self.stop, layer=layer)
        for arm in ("base", "ceiling"):
            self.add(arm, None, None)
        controls = {"countries": ("shuffled", "planted"), "backdoor": ("decorrelated",)}
        for control in controls.get(self.family, ("shuffled",)):
            for seed in range(self.seeds):
                self.add("vector", seed, self.stop, control, layer=4)
                self.add("adapter", seed, self.stop, control, layer=4)
        return pl.DataFrame(self.rows, infer_schema_length=None)


def hash_of(*parts: str) -> int:
    """The same on every run, unlike `hash`."""
    return sum(ord(letter) * (i + 1) for i, letter in enumerate("/".join(parts)))


def members_of(family: str, count: int) -> tuple[str, ...]:
    if family == "risk":
        return ("risky", "safe")
    if family == "backdoor":
        names = PLACES[: 2 * max(1, count // 2)]
        return tuple(f"{x}|{y}" for x, y in zip(names[::2], names[1::2], strict=True))
    return PLACES[:count]
