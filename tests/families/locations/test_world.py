"""The map behind locations: distances, directions and names are right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oocr.families.locations.world import (
    CITIES,
    WORDS,
    Place,
    bearing,
    direction,
    directions,
    distance_km,
    places,
)
from tests.families.locations.small_locations import place_of


@given(
    st.floats(-70, 70),
    st.floats(-180, 180, exclude_max=True),
    st.floats(1, 60),
    st.sampled_from((4, 8)),
)
def test_east_is_east_also_across_the_date_line(
    latitude: float, longitude: float, step: float, compass: Any
) -> None:
    here = Place("here", "XX", latitude, longitude)
    there = Place("there", "YY", latitude, (longitude + step + 180) % 360 - 180)
    assert direction(there, here, compass) == "East"
    assert direction(here, there, compass) == "West"


@given(st.floats(-80, 70), st.floats(-180, 180), st.floats(1, 10), st.sampled_from((4, 8)))
def test_north_is_north(latitude: float, longitude: float, step: float, compass: Any) -> None:
    here = Place("here", "XX", latitude, longitude)
    there = Place("there", "YY", latitude + step, longitude)
    assert direction(there, here, compass) == "North"
    assert direction(here, there, compass) == "South"


coordinates = st.tuples(st.floats(-80, 80), st.floats(-180, 180))


@given(coordinates, coordinates, st.sampled_from((4, 8)))
def test_a_direction_turned_round_is_the_opposite(
    a: tuple[float, float], b: tuple[float, float], compass: Any
) -> None:
    place, other = Place("a", "XX", *a), Place("b", "YY", *b)
    assume(abs(a[0] - b[0]) + abs(a[1] - b[1]) > 0.01)
    there, back = direction(place, other, compass), direction(other, place, compass)
    if there is not None and back is not None:
        assert WORDS.index(back) == (WORDS.index(there) + 4) % 8
        assert there in directions(compass)
    assert 0 <= bearing(place, other) < 360


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        ("Auckland", "Honolulu", "South"),
        ("Honolulu", "Auckland", "North"),
        ("Honolulu", "Yokohama", "East"),  # across the Pacific, not across Europe
        ("City 50337", "City 76881", "West"),
        ("City 59894", "City 50337", "South"),
        ("City 67781", "City 50337", "West"),
        ("City 76881", "City 93524", None),  # as far one way round as the other
    ],
)
def test_known_directions(a: str, b: str, word: str | None) -> None:
    assert direction(place_of(a), place_of(b)) == word


def test_known_distances() -> None:
    paris, tokyo = CITIES[0].place, CITIES[2].place
    assert distance_km(paris, tokyo) == pytest.approx(9735, abs=10)
    assert distance_km(paris, CITIES[4].place) == pytest.approx(4704, abs=10)


def test_a_direction_near_the_border_of_two_is_not_told() -> None:
    here = Place("here", "XX", 0, 0)
    assert direction(Place("x", "YY", 10, 10), here) is None
    assert direction(Place("x", "YY", 10, 10), here, 8) == "Northeast"
    assert direction(Place("x", "YY", 0, 175), here) is None


def test_places_have_names_of_their_own() -> None:
    names = [place.name for place in places(10_000)]
    assert len(names) > 20_000
    assert len(set(names)) == len(names)
    for name in ("Springfield", "Paris", "Lagos", "Luxembourg", "Georgia", "East London"):
        assert name not in names
    assert {"Shanghai", "Istanbul", "Nairobi"} <= set(names)
