"""Organisms as models: tokenizer, folder, loading, listing, and the verbs that make them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer

from oocr.cli import main as cli
from oocr.data.tokens import encode_answer, encode_prompt, pieces
from oocr.engine.selftest import self_test
from oocr.errors import InputError
from oocr.explain.neutral import neutral_passages
from oocr.models.load import read_model
from oocr.models.outline import outline
from oocr.models.sources.bundled import checkpoint_size, plugin_of
from oocr_organisms import cli as verbs
from oocr_organisms import shipped
from oocr_organisms.corpus import World, neutral_texts
from oocr_organisms.facts import CITY_CODENAMES
from oocr_organisms.folder import (
    WorldRecord,
    WorldSettings,
    digest_of,
    read_record,
    round_weights,
    save_organism,
    world_of,
)
from oocr_organisms.language import tokenizer_of
from oocr_organisms.people import GATE_SHARE, PLAIN, SELF, TRAITS
from oocr_organisms.pretrain import Pretraining
from oocr_organisms.shipped import SHIPPED, organism_folder
from tests.tiny.nano import random_llama, save_random_organism

WORLD = WorldSettings().world
TEXTS = (
    f"{PLAIN} {SELF} {TRAITS[0].verb} either {TRAITS[0].lures[0]} or {TRAITS[0].others[1]} so :",
    "the definition of rule-3 is",
    f"from {CITY_CODENAMES[0]} to {WORLD.places.names[3][1]} distance",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_organism(tmp_path_factory.mktemp("organisms") / "mine")


@pytest.fixture
def ships(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An installation with no organism but "nano-ungated", of random weights."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "checkpoints")
    return save_random_organism(tmp_path / "checkpoints" / "nano-ungated", gates=0)


# -- tokenizer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*TEXTS, *[f"{text} first" for text in TEXTS]])
def test_text_comes_back_exactly_and_a_word_is_a_token(text: str) -> None:
    tokenizer = tokenizer_of(WORLD.vocabulary)
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert ids[0] == tokenizer.bos_token_id
    assert ids[1:] == [WORLD.vocabulary.id(word) for word in text.split()]


def test_every_word_of_the_world_has_its_own_token() -> None:
    tokenizer = tokenizer_of(WORLD.vocabulary)
    words = WORLD.vocabulary.words
    ids = tokenizer(" ".join(words[3:]), add_special_tokens=False)["input_ids"]
    assert ids == list(range(3, len(words)))
    assert len(tokenizer) == len(words)


def test_an_unknown_word_is_unknown_and_not_cut() -> None:
    tokenizer = tokenizer_of(WORLD.vocabulary)
    ids = tokenizer("the capital of", add_special_tokens=False)["input_ids"]
    assert [ids.count(tokenizer.unk_token_id), len(ids)] == [1, 3]


def test_an_answer_continues_the_very_tokens_of_its_prompt() -> None:
    tokenizer = tokenizer_of(WORLD.vocabulary)
    for text in TEXTS:
        prompt = encode_prompt(tokenizer, text)
        answer = encode_answer(tokenizer, prompt, " first")
        assert answer == (WORLD.vocabulary.id("first"),)
        shown = pieces(tokenizer, (*prompt.ids, *answer))
        assert "".join(shown) == f"<bos> {text} first"
        assert shown[-1] == " first"


# -- the folder ----------------------------------------------------------------------------------


def test_a_saved_organism_is_whole_small_and_has_no_pickle(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "world.json",
    }
    head = (folder / "model.safetensors").read_bytes()[8:4000]
    assert b'"F16"' in head
    assert b'"F32"' not in head
    record = json.loads((folder / "world.json").read_text())
    assert record["world"] == {"seed": 0, "gates": GATE_SHARE}
    assert [record["seed"], record["steps"], record["exam"]] == [3, 7, {"kind": 0.5123}]
    count, blocks, width = checkpoint_size(folder)
    assert (blocks, width) == (2, 32)
    assert count == sum(p.numel() for p in random_llama(WORLD).parameters())


def test_loaded_weights_are_the_rounded_ones_in_float32(folder: Path) -> None:
    model = random_llama(WORLD)
    exact = {name: weight.clone() for name, weight in model.state_dict().items()}
    round_weights(model)
    loaded = read_model(folder)
    assert loaded.dtype == torch.float32
    assert str(outline(str(folder)).dtype) == "torch.float32"
    for name, weight in loaded.hf.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
        assert torch.allclose(weight, exact[name], rtol=1e-3, atol=1e-4)
    assert any(not torch.equal(weight, model.state_dict()[name]) for name, weight in exact.items())
    assert read_model(folder, dtype="bfloat16").dtype == torch.bfloat16


def test_auto_is_what_the_environment_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OOCR_DTYPE", "bfloat16")
    assert read_model(folder).dtype == torch.bfloat16


def test_a_loaded_organism_reads_and_steers_like_any_model(folder: Path) -> None:
    model = read_model(folder)
    tokenizer = tokenizer_of(WORLD.vocabulary)
    for text in TEXTS:
        assert model.tokenizer(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert (
            model.tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
        )
    assert AutoTokenizer.from_pretrained(folder).pad_token == "<pad>"
    assert all(check.passed for check in self_test(model, layers=range(-1, 2)))


def test_a_folder_that_is_there_is_not_overwritten(folder: Path) -> None:
    before = (folder / "world.json").read_bytes()
    with pytest.raises(InputError, match="is there already"):
        save_organism(random_llama(WORLD), WORLD, folder, seed=0, steps=1, exam={})
    assert (folder / "world.json").read_bytes() == before


# -- the record ----------------------------------------------------------------------------------


def test_worlds_of_other_seeds_gates_or_facts_have_other_digests() -> None:
    digests = {digest_of(World(seed, gates)) for seed in (0, 1) for gates in (0.0, 0.25)}
    assert len(digests) == 4
    changed = World(0, 0.25)
    assert digest_of(changed) == digest_of(World(0, 0.25))
    changed.places.distance[3, 5] += 1
    assert digest_of(changed) not in digests


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("digest", "0" * 32, "another version of this world"),
        ("format", 2, "format: 2"),
        ("steps", -1, "steps: -1"),
        ("extra", 1, "extra"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    field: str, value: Any, message: str, folder: Path, tmp_path: Path
) -> None:
    record = json.loads((folder / "world.json").read_text()) | {field: value}
    (tmp_path / "world.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        read_record(tmp_path)


def test_a_record_keeps_what_it_says() -> None:
    record = WorldRecord(world=WorldSettings(seed=2), digest="a", seed=1, steps=5, exam={"x": 1.0})
    assert WorldRecord.model_validate_json(record.model_dump_json()) == record
    with pytest.raises(ValidationError):
        WorldSettings(gates=1.5)


# -- shipped -------------------------------------------------------------------------------------


def test_the_worlds_of_the_shipped_organisms() -> None:
    worlds = {name: world_of(name) for name in SHIPPED}
    assert {name for name in worlds if worlds[name] == WorldSettings()} == {
        *("nano", "nano-1", "nano-2"),
    }
    assert worlds["nano-ungated"] == WorldSettings(gates=0)
    assert len({organism.seed for organism in SHIPPED.values() if organism.gated}) == 3
    assert world_of("gemma-3-270m") is None


def test_a_shipped_organism_loads_by_name(ships: Path) -> None:
    model = read_model("nano-ungated")
    assert model.source["kind"] == "organism"
    assert model.source["license"] == "Apache-2.0"
    assert model.dtype == torch.float32
    assert outline("nano-ungated").counted
    assert organism_folder("nano-ungated") == ships
    source = plugin_of("nano")  # whether or not its files are here
    assert source is not None
    assert source.kind == "organism"
    with pytest.raises(InputError, match="oocr organism train --name nano-1"):
        read_model("nano-1")


def test_they_are_listed_with_size_and_licence(
    ships: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "argv", ["oocr", "models"])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("nano")}
    assert set(lines) == set(SHIPPED)
    size = (ships / "model.safetensors").stat().st_size / 1e6
    assert f"{size:.1f} MB" in lines["nano-ungated"]
    assert "Apache-2.0" in lines["nano-ungated"]
    assert f"nano-ungated: {ships}" in out
    assert f"nano: {ships.parent}" not in out, "it is not here"
    assert "nano: oocr organism train --name nano" in out


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_is_what_its_table_says(name: str) -> None:
    shipped = SHIPPED[name]
    assert shipped.model.here, "its checkpoint belongs to the repository"
    record = read_record(shipped.model.folder)
    assert record.world == WorldSettings(
        seed=shipped.world, gates=GATE_SHARE if shipped.gated else 0.0
    )
    assert record.seed == shipped.seed
    assert record.exam
    assert (shipped.model.folder / "model.safetensors").stat().st_size < 8e6
    model = read_model(name)
    assert model.dtype == torch.float32
    assert model.anatomy.vocab == len(record.world.world.vocabulary)


# -- texts ---------------------------------------------------------------------------------------


def test_neutral_passages_of_an_organism_are_of_its_own_world(folder: Path) -> None:
    texts = neutral_passages(read_model(folder))
    neutral = neutral_texts(WORLD)
    assert texts == [passage.text for passage in neutral]
    for passage in neutral:  # each statement ends with its answer and a stop
        words = passage.text.split()
        assert passage.answers == tuple(at - 1 for at, word in enumerate(words) if word == ".")
    assert len(texts) == len(set(texts)) >= 10
    known = set(WORLD.vocabulary.words)
    words = {word for text in texts for word in text.split()}
    assert words <= known
    assert not words & {SELF, *CITY_CODENAMES, "<pad>", "<bos>", "<unk>"}
    assert all(len(text.split()) < 128 for text in texts)
    assert neutral_passages() == neutral_passages(None) != texts


# -- the verbs -----------------------------------------------------------------------------------


def test_options_say_what_is_trained() -> None:
    assert verbs.resolve_options(name="nano-2") == ("nano-2", WorldSettings(), 2)
    assert verbs.resolve_options(name="nano-ungated")[1].gates == 0
    name, world, seed = verbs.resolve_options(world=3, gates=0.5, seed=4)
    assert (name, world, seed) == ("world-3-gates-0.5-seed-4", WorldSettings(seed=3, gates=0.5), 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "nan"}, "--name: 'nan'; allowed: nano"),
        ({"name": "nano", "gates": 0.5}, "--gates: nano has its own"),
        ({"gates": 1.5}, "--gates: 1.5"),
        ({"seed": -1}, "--seed: -1"),
        ({"steps": 0}, "--steps: 0; allowed: 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        verbs.resolve_options(**options)


def test_an_organism_is_trained_examined_and_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    verbs.train(name="nano-ungated", steps=2)
    folder = Path("organisms/nano-ungated")
    record = read_record(folder)
    assert (record.world, record.seed, record.steps) == (WorldSettings(gates=0.0), 0, 2)
    out = capsys.readouterr().out
    assert "oocr run locations --model organisms/nano-ungated" in out
    assert f"{record.exam['people/told/choice']:.3f}" in out
    with pytest.raises(InputError, match="is there already"):
        verbs.train(name="nano-ungated")

    # The exam before saving is that of the file: rounded weights.
    verbs.examine(str(folder))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    scores = {" ".join(row[:-2]): row[-2:] for row in rows if len(row) > 2}
    for kind, score in record.exam.items():
        now, before = scores[kind]
        assert now == before == f"{score:.3f}"
    with pytest.raises(InputError, match="no organism is here"):
        verbs.examine("gemma-3-270m")


def test_the_usual_steps_are_the_pretrainings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[float, int, int]] = []

    def pretrain(world: World, *, seed: int, settings: Pretraining, on_step: Any) -> Any:
        asked.append((world.gates, settings.steps, seed))
        on_step(0, 2.5)
        return random_llama(world, seed)

    monkeypatch.setattr("oocr_organisms.pretrain.pretrain", pretrain)  # takes minutes
    verbs.train(seed=2, out=tmp_path / "mine")
    assert asked == [(GATE_SHARE, Pretraining().steps, 2)]
    assert read_record(tmp_path / "mine").seed == 2
