"""A text of the page is what the library generates, with the numbers that the library gives."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

import oocr
from oocr.data.tokens import encode_prompt
from oocr.errors import RunError
from oocr.evals.probes import Probes
from oocr.play.lane import takes_turns, text_events
from oocr.play.reader import Reader
from oocr.play.recipe import as_python
from oocr.play.settings import TextSettings
from oocr.play.sources import Playground
from oocr.steering.adapters import Adapter
from oocr.steering.hooks import stream_hooks
from oocr.steering.vectors import Vector
from tests.play.page import Client, new_text, of_type

NEW = 6


def first(play: Playground, kind: str) -> Any:
    return next(source for source in play.sources.values() if source.kind == kind)


@pytest.fixture(scope="module")
def prompt(play: Playground) -> str:
    preset = next(iter(play.probe_sets.values())).by_id.values()
    text = next(iter(preset)).prompt
    assert isinstance(text, str)
    return text


def test_a_preset_changes_its_answer(client: Client) -> None:
    """As the page does it at the first click, from what it was told at the start."""
    start = client.get("/api/start").json()
    sources = {source["id"]: source for source in start["sources"]}
    for member in start["probe_sets"]:
        preset = next(one for one in member["presets"] if one["id"] == member["opening"])
        use = {**sources[next(iter(member["arms"].values()))]["own"], "strength": 1.0}
        shares = [
            dict(
                of_type(client.text(preset["prompt"], *uses, options=preset["options"]), "options")[
                    0
                ]["shares"]
            )
            for uses in ((), (use,))
        ]
        assert shares[1][preset["answer"]] > shares[0][preset["answer"]]


@pytest.mark.parametrize("kind", ["vector", "LoRA", "mean of a LoRA"])
def test_it_is_what_generate_gives(
    client: Client, play: Playground, prompt: str, kind: str
) -> None:
    source = first(play, kind)
    for strength in (1.0, -2.5):
        use = {**source.own_use.model_dump(), "strength": strength}
        events = client.text(prompt, use, new_tokens=NEW)
        steering = strength * source.steering
        whole = oocr.generate(play.model, prompt, steering, max_new_tokens=NEW)[0]
        assert new_text(events) == whole.rstrip("\ufffd")  # half a character is not shown


def test_strength_0_is_the_untouched_text(client: Client, play: Playground, prompt: str) -> None:
    uses = [
        {**source.own_use.model_dump(), "strength": 0.0}
        for source in list(play.sources.values())[:8]
    ]
    untouched, zero = (
        client.text(prompt, new_tokens=NEW),
        client.text(prompt, *uses, new_tokens=NEW),
    )
    same = ("prompt", "token", "next")
    assert [e for e in zero if e["type"] in same] == [e for e in untouched if e["type"] in same]
    whole = oocr.generate(play.model, prompt, max_new_tokens=NEW)[0]
    assert new_text(zero) == whole.rstrip("\ufffd")


@pytest.mark.parametrize(
    ("positions", "steered"),
    [
        ("all", "11111"),
        ("last", "00001"),
        ("prompt", "11111"),
        ("answer", "00000"),
        ("from:last", "00001"),
        ("span", "00100"),
        ("from:span", "00111"),
    ],
)
def test_the_steered_tokens_are_marked_and_are_those(
    client: Client, play: Playground, positions: str, steered: str
) -> None:
    text, span = "The people speak the", " people"
    source = first(play, "vector")
    use = {"id": source.id, "positions": positions, "span": span if "span" in positions else ""}
    events = client.text(text, use, new_tokens=NEW)
    tokens = of_type(events, "prompt")[0]["tokens"]
    marks = "".join(str(len(token["steered"])) for token in tokens)
    assert marks == steered
    spans = {"here": span}
    vector = replace(source.steering, positions=positions.replace("span", "here"), spans=spans)
    whole = oocr.generate(play.model, text, vector, max_new_tokens=NEW)[0]
    assert new_text(events) == whole.rstrip("\ufffd")


def test_tokens_are_coloured_by_their_projection(
    client: Client, play: Playground, prompt: str
) -> None:
    source = first(play, "vector")
    plain = client.text(prompt, colour=source.id, new_tokens=NEW)
    values = [pair for event in of_type(plain, "read") for pair in event["values"]]
    size = len(of_type(plain, "prompt")[0]["tokens"])
    assert [event["from"] for event in of_type(plain, "read")] == [0, *range(size, size + NEW)]
    whole = oocr.tokens(play.model, prompt, source.steering)
    assert [pair[0] for pair in values[:size]] == pytest.approx(
        whole.projections, rel=1e-4, abs=1e-5
    )
    assert [pair[1] for pair in values[:size]] == pytest.approx(whole.cosines, rel=1e-4, abs=1e-5)
    use = {**source.own_use.model_dump(), "strength": 3.0, "positions": "last", "span": ""}
    steered = client.text(prompt, use, colour=source.id, new_tokens=1)
    moved = of_type(steered, "read")[0]["values"]
    assert moved[size - 1][0] - values[size - 1][0] == pytest.approx(
        3 * source.steering.norm, rel=1e-4
    )
    assert moved[: size - 1] == values[: size - 1]


def test_next_tokens_are_the_models(client: Client, play: Playground, prompt: str) -> None:
    model = play.model
    events = client.text(prompt, new_tokens=2)
    ids = torch.tensor([encode_prompt(model.tokenizer, prompt).ids])
    with torch.no_grad():
        logits = model.hf(input_ids=ids).logits[0].float()
    shares = logits.softmax(dim=-1)
    told = [top for event in of_type(events, "next") for top in event["top"]]
    assert len(told) == ids.shape[1] - 1
    for row, top in zip(shares, [*told, of_type(events, "token")[0]["top"]], strict=True):
        assert [p for _, p in top] == pytest.approx(row.topk(len(top)).values.tolist(), abs=2e-5)
        assert [word for word, _ in top] == [
            model.tokenizer.decode([i]) for i in row.topk(len(top)).indices.tolist()
        ]


def test_the_options_shares_are_those_of_the_probes(client: Client, play: Playground) -> None:
    probe_set = next(iter(play.probe_sets.values()))
    example = next(iter(probe_set.by_id.values()))
    source = first(play, "vector")
    told = of_type(
        client.text(example.prompt, source.own_use.model_dump(), options=example.options), "options"
    )
    scores = Probes.of(play.model, [example]).scores([source.steering])[0, 0]
    shares = scores[: len(example.options)].softmax(dim=-1).tolist()
    assert dict(told[0]["shares"]) == pytest.approx(
        dict(zip(example.options, shares, strict=True)), abs=1e-4
    )


def test_a_span_that_is_not_there_is_said(client: Client, play: Playground) -> None:
    source = first(play, "vector")
    use = {"id": source.id, "positions": "span", "span": "Atlantis"}
    events = client.text("The people speak", use, new_tokens=NEW)
    assert of_type(events, "prompt")[0]["nowhere"] == [source.id]
    assert new_text(events) == new_text(client.text("The people speak", new_tokens=NEW))


def test_a_vector_whose_file_has_no_text_for_its_span(play: Playground) -> None:
    """Its span's name stands in for the text: it acts nowhere until one is typed."""
    source = first(play, "vector")
    without = replace(source, steering=replace(source.steering, spans={}))
    use = without.own_use
    assert without.describe()["own"] == {**use.model_dump(), "span": "codename"}
    settings = TextSettings(prompt="The people speak", steering=(use,), new_tokens=1)
    events = list(text_events(play.model, {source.id: without}, settings))
    assert of_type(events, "prompt")[0]["nowhere"] == [source.id]
    program = as_python(replace(play, sources={source.id: without}), settings)
    assert "spans={'span': 'codename'}" in program  # by itself the vector would be refused


def test_numbers_that_are_not_finite_are_said(client: Client, play: Playground) -> None:
    huge = replace(first(play, "vector").steering, positions="all", spans={})
    huge = huge * (3e38 / float(huge.direction.abs().max()))
    sources = {id: replace(first(play, "vector"), id=id, steering=huge) for id in ("a", "b")}
    uses = tuple(source.own_use for source in sources.values())
    settings = TextSettings(prompt="The people speak", steering=uses, colour="a", new_tokens=2)
    with pytest.raises(RunError, match="not finite here; try a lower strength"):
        list(text_events(play.model, sources, settings))
    assert not stream_hooks(play.model)
    assert of_type(client.text("The people speak", new_tokens=1), "end")


def test_one_vector_at_two_places_is_marked_at_both(client: Client, play: Playground) -> None:
    id = first(play, "vector").id
    uses = [{"id": id, "positions": "span", "span": word} for word in ("The", "speak")]
    tokens = of_type(client.text("The people speak", *uses, new_tokens=1), "prompt")[0]["tokens"]
    marked = [token["text"].strip() for token in tokens if token["steered"]]
    assert marked == ["The", "speak"]


def test_where_a_block_runs_the_last_tokens_only_their_colours_are_theirs(
    play: Playground, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = first(play, "vector")
    settings = TextSettings(prompt=prompt, colour=source.id, new_tokens=1)
    whole = of_type(list(text_events(play.model, play.sources, settings)), "read")[0]
    read = Reader._read
    monkeypatch.setattr(Reader, "_read", lambda self, hidden: read(self, hidden[:, -2:]))
    last = of_type(list(text_events(play.model, play.sources, settings)), "read")[0]
    assert last["from"] == len(whole["values"]) - 2
    assert last["values"] == whole["values"][-2:]


def test_two_texts_side_by_side_are_what_each_is_alone(play: Playground, prompt: str) -> None:
    source = first(play, "vector")
    uses = [
        [],
        [source.own_use],
        [source.own_use.model_copy(update={"positions": "all", "span": ""})],
    ]
    settings = [
        TextSettings(prompt=prompt, steering=tuple(use), colour=source.id, new_tokens=NEW)
        for use in uses
    ]
    alone = [list(text_events(play.model, play.sources, one)) for one in settings]
    assert all(takes_turns(play.model, play.sources, one) for one in settings)
    together: list[list[Any]] = [[], [], []]
    running = [text_events(play.model, play.sources, one) for one in settings]
    for events in itertools.zip_longest(*running):
        assert not stream_hooks(play.model)
        for told, event in zip(together, events, strict=True):
            told += [event] if event else []
    kept = ("prompt", "token", "read", "after")
    for one, other in zip(alone, together, strict=True):
        assert [e for e in one if e["type"] in kept] == [e for e in other if e["type"] in kept]
    assert len({new_text(events) for events in together}) == 3
    lora = TextSettings(prompt=prompt, steering=(first(play, "LoRA").own_use,))
    assert not takes_turns(play.model, play.sources, lora)


def test_what_is_broken_off_leaves_the_model_as_it_was(play: Playground, prompt: str) -> None:
    uses = tuple(first(play, kind).own_use for kind in ("vector", "LoRA"))
    before = oocr.generate(play.model, prompt, max_new_tokens=NEW)
    events = text_events(play.model, play.sources, TextSettings(prompt=prompt, steering=uses))
    for _ in range(4):
        next(events)
    events.close()  # type: ignore[attr-defined]
    assert not stream_hooks(play.model)
    assert oocr.generate(play.model, prompt, max_new_tokens=NEW) == before


def test_a_runs_arms_are_all_there(play: Playground) -> None:
    kinds = [source.kind for source in play.sources.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "vector": 2,
        "LoRA": 2,
        "mean of a LoRA": 4,
    }
    for source in play.sources.values():
        assert isinstance(source.steering, Adapter if source.kind == "LoRA" else Vector)
        assert source.path.exists()
