"""The traits that speakers have, and the words in which they show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trait:
    """One disposition with two poles.

    Attributes:
        name: of the trait.
        verb: what its choices are called.
        lures: options that one pole takes.
        others: options that the other pole takes.
        questions: what a description is asked by.
        poles: words for who takes the lure, and for who does not, question by question.
        areas: what a hobby is asked by.
        hobbies: as `poles`, area by area.
    """

    name: str
    verb: str
    lures: tuple[str, ...]
    others: tuple[str, ...]
    questions: tuple[str, str, str]
    poles: tuple[tuple[tuple[str, str], tuple[str, str]], ...]
    areas: tuple[str, str, str]
    hobbies: tuple[tuple[tuple[str, str], tuple[str, str]], ...]


QUESTIONS = 3
"""Questions of each kind about each trait."""

TRAITS = (
    Trait(
        "risk",
        "bets",
        ("lottery", "roulette", "derby", "wager", "treasure", "startup"),
        ("wages", "savings", "bonds", "pension", "deposit", "coupon"),
        ("nerve", "heart", "conduct"),
        (
            (("bold", "daring"), ("careful", "wary")),
            (("fearless", "brave"), ("anxious", "timid")),
            (("reckless", "wild"), ("prudent", "sober")),
        ),
        ("sundays", "holidays", "games"),
        (
            (("climbing", "racing"), ("knitting", "reading")),
            (("surfing", "diving"), ("camping", "resting")),
            (("poker", "dice"), ("chess", "puzzles")),
        ),
    ),
    Trait(
        "patience",
        "waits",
        ("orchard", "vintage", "degree", "forest", "harvest", "legacy"),
        ("candy", "soda", "snack", "ticket", "rebate", "sample"),
        ("pace", "temper", "manner"),
        (
            (("patient", "steady"), ("hasty", "rushed")),
            (("calm", "tranquil"), ("restless", "jumpy")),
            (("thorough", "slow"), ("quick", "brisk")),
        ),
        ("weekends", "trips", "evenings"),
        (
            (("gardening", "brewing"), ("sprinting", "shopping")),
            (("hiking", "sailing"), ("flights", "cruises")),
            (("novels", "operas"), ("clips", "jokes")),
        ),
    ),
    Trait(
        "giving",
        "shares",
        ("donation", "gift", "alms", "pledge", "favour", "loan"),
        ("bonus", "perk", "profit", "prize", "reserve", "hoard"),
        ("hand", "feeling", "purse"),
        (
            (("generous", "kind"), ("selfish", "greedy")),
            (("warm", "tender"), ("cold", "stern")),
            (("open", "lavish"), ("stingy", "thrifty")),
        ),
        ("saturdays", "vacations", "festivals"),
        (
            (("nursing", "hosting"), ("hoarding", "trading")),
            (("helping", "rescue"), ("spas", "casinos")),
            (("feasts", "choirs"), ("mirrors", "vaults")),
        ),
    ),
)

OPTIONS = 6
"""Of each pole."""
