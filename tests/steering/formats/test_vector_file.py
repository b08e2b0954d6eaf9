"""The vector file: what it says, what comes back, what is refused, which model it is for."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.formats import read_gguf, write_gguf
from oocr.steering.vector_file import RESERVED
from oocr.steering.vectors import Vector
from tests.tiny.models import tiny_language_model

METADATA = {
    "format": "oocr-vector-2",
    "layer": "2",
    "site": "block output",
    "operation": "add",
    "scale": "folded in",
    "positions": "all",
    "spans": "{}",
}


@cache
def model_of(seed: int = 0) -> LanguageModel:
    return tiny_language_model("llama", seed)


def tensors_of(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata()


def vector(about: dict[str, str], width: int = 32, layer: int = 2) -> Vector:
    return Vector(layer, "all", torch.ones(width), about=about)


def test_a_saved_vector_comes_back_and_the_file_says_what_it_is(tmp_path: Path) -> None:
    saved = Vector(
        4,
        "codename",
        torch.randn(16, dtype=torch.bfloat16),
        spans={"codename": "Country 4821"},
        about={"model": "tiny", "seed": "3"},
        site="mlp",
    )
    path = saved.save(tmp_path / "new" / "japan.safetensors")
    back = Vector.load(path)
    assert back.where == (4, "mlp", "codename")
    assert (dict(back.spans), dict(back.about)) == (dict(saved.spans), dict(saved.about))
    assert torch.equal(back.direction, saved.direction.float())
    tensors, metadata = tensors_of(path)
    assert {name: (saved.dtype, saved.ndim) for name, saved in tensors.items()} == {
        "direction.4": (torch.float32, 1)
    }
    assert metadata == {
        "format": "oocr-vector-2",
        "layer": "4",
        "site": "mlp output",
        "operation": "add",
        "scale": "folded in",
        "positions": "codename",
        "spans": '{"codename": "Country 4821"}',
        "model": "tiny",
        "seed": "3",
    }


def test_each_joined_span_has_a_tensor_of_its_own(tmp_path: Path) -> None:
    saved = Vector(
        1, "tokyo+paris", torch.randn(2, 8), spans={"paris": "City 1", "tokyo": "City 2"}
    )
    path = saved.save(tmp_path / "v.safetensors")
    tensors, _ = tensors_of(path)
    assert tensors.keys() == {"direction.1.tokyo", "direction.1.paris"}
    assert torch.equal(tensors["direction.1.paris"], saved.only("paris").direction)
    back = Vector.load(path)
    assert torch.equal(back.direction, saved.direction), "in the order of the positions"
    assert (back.positions, dict(back.spans)) == (saved.positions, dict(saved.spans))


def test_the_embedding_layer_survives_the_file(tmp_path: Path) -> None:
    saved = vector({}, layer=-1)
    assert Vector.load(saved.save(tmp_path / "v.safetensors")).layer == -1


def test_a_saved_slice_of_a_bigger_tensor_holds_only_itself(tmp_path: Path) -> None:
    saved = Vector(1, "all", torch.randn(8, 1000)[:, 3])
    path = saved.save(tmp_path / "v.safetensors")
    assert path.stat().st_size < 1000
    assert torch.equal(Vector.load(path).direction, saved.direction)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = TEXT.filter(lambda text: text.strip() and not set(text) & set("+:") and text != "all")
NAMES = st.lists(NAME, min_size=2, max_size=3, unique=True)


@settings(max_examples=60, deadline=None)
@given(
    about=st.dictionaries(TEXT.filter(lambda saved: saved not in RESERVED), TEXT, max_size=4),
    spans=st.dictionaries(NAME, TEXT, max_size=3),
    names=NAMES,
    joined=st.booleans(),
    layer=st.integers(-1, 200),
)
def test_any_words_survive_the_file(
    tmp_path_factory: pytest.TempPathFactory,
    about: dict[str, str],
    spans: dict[str, str],
    names: list[str],
    joined: bool,
    layer: int,
) -> None:
    positions = "+".join(names) if joined else names[0]
    if {"last", "prompt", "answer"} & set(names):
        return
    direction = torch.randn((len(names), 4) if joined else (4,))
    saved = Vector(layer, positions, direction, spans=spans, about=about)
    back = Vector.load(saved.save(tmp_path_factory.mktemp("any") / "v.safetensors"))
    assert torch.equal(back.direction, direction)
    assert (back.where, dict(back.spans), dict(back.about)) == (saved.where, spans, about)


@pytest.mark.parametrize("name", RESERVED)
def test_origins_cannot_pose_as_what_the_file_says_itself(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"about: '{name}' is taken"):
        vector({name: "mine"}).save(tmp_path / "v.safetensors")
    assert not list(tmp_path.iterdir())


def test_files_of_the_first_format_are_read(tmp_path: Path) -> None:
    path, rows = tmp_path / "v.safetensors", torch.randn(2, 4)
    old = {"format": "oocr-vector-1", "layer": "3", "about": '{"model": "tiny"}'}
    save_file({"direction.3": rows[0]}, path, {**old, "positions": "s", "spans": '{"s": "x"}'})
    back = Vector.load(path)
    assert back.where == (3, "block", "s")
    assert (dict(back.spans), dict(back.about)) == ({"s": "x"}, {"model": "tiny"})
    more = {"positions": "a+b", "spans": "{}", "site": "mlp output"}
    save_file({"direction.3": rows}, path, {**old, **more})
    back = Vector.load(path)
    assert back.where == (3, "mlp", "a+b")
    assert torch.equal(back.direction, rows)


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    good = vector({}).save(tmp_path / "good.safetensors").read_bytes()
    texts = {"text": b"hello", "empty": b"", "cut": good[:-3], "header-cut": good[:20]}
    for name, content in texts.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.safetensors: not a readable"):
            Vector.load(path)
    with pytest.raises(InputError, match=r"gone\.safetensors: not a readable"):
        Vector.load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("changed", "tensors", "message"),
    [
        ({"format": None}, {}, r"format: found None; allowed: oocr-vector-2"),
        ({"format": "pt"}, {}, r"format: found 'pt'; .* it has the tensors direction\.2"),
        ({"layer": None}, {}, r"layer: missing in the metadata"),
        ({"layer": "two"}, {}, r"layer: found 'two'; allowed: -1, or a block's number"),
        ({"layer": "-2"}, {"direction.-2": (4,)}, r"layer: found '-2'; allowed: -1, or"),
        ({"site": "attention"}, {}, r"site: found 'attention'; allowed: block output, mlp output"),
        ({"operation": "clamp"}, {}, r"operation: found 'clamp'; allowed: 'add'"),
        ({"scale": "2"}, {}, r"scale: found '2'; allowed: 'folded in'"),
        ({"positions": "from:"}, {}, r"positions 'from:': allowed"),
        ({"positions": "a+a"}, {}, r"positions 'a\+a': allowed"),
        (
            {"positions": "a+b"},
            {},
            r"found direction\.2; expected direction\.2\.a, direction\.2\.b",
        ),
        ({"spans": "[]"}, {}, r"spans: found '\[\]'; allowed: a JSON object of strings"),
        ({"spans": '{"a": 1}'}, {}, r"spans: found .* JSON object of strings"),
        ({"spans": "x"}, {}, r"spans: found 'x'"),
        ({}, {"direction.3": (4,)}, r"tensors: found direction\.3; expected direction\.2"),
        ({}, {"direction.2": (4,), "more": (4,)}, r"found direction\.2, more; expected"),
        ({}, {"direction.2": (1, 4)}, r"has one dimension, found \(1, 4\)"),
        (
            {"positions": "a+b"},
            {"direction.2.a": (4,), "direction.2.b": (5,)},
            r"tensors: found torch\.float32 \(4,\), torch\.float32 \(5,\); allowed: .* one shape",
        ),
    ],
)
def test_files_that_say_something_else_are_refused_by_field(
    tmp_path: Path,
    changed: dict[str, str | None],
    tensors: dict[str, tuple[int, ...]],
    message: str,
) -> None:
    metadata = {k: v for k, v in {**METADATA, **changed}.items() if v is not None}
    shapes = tensors or {"direction.2": (4,)}
    path = tmp_path / "v.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path, metadata)
    with pytest.raises(InputError, match=f"v.safetensors: .*{message}"):
        Vector.load(path)


def test_integers_are_no_direction(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save_file({"direction.2": torch.zeros(4, dtype=torch.int64)}, path, METADATA)
    with pytest.raises(InputError, match=r"torch\.int64 \(4,\); allowed: floating-point"):
        Vector.load(path)


# --- the model it is for ------------------------------------------------------------------------


def test_a_vector_that_does_not_fit_the_model_is_refused(tmp_path: Path) -> None:
    narrow = vector({}, width=8).save(tmp_path / "narrow.safetensors")
    with pytest.raises(InputError, match=r"narrow.safetensors: .*width 8, tiny-llama has 32"):
        Vector.load(narrow, model_of())
    deep = vector({}, layer=7).save(tmp_path / "deep.safetensors")
    with pytest.raises(InputError, match=r"deep.safetensors: layer 7: tiny-llama has -1 to 3"):
        Vector.load(deep, model_of())
    assert Vector.load(deep).layer == 7


def test_the_very_model_and_files_that_name_none_are_silent(tmp_path: Path) -> None:
    model = model_of()
    renamed = {**model.about, "model": "elsewhere", "model_id": "some/one"}  # the same weights
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for about in (model.about, renamed, {}, {"control": "random direction"}):
            Vector.load(vector(about).save(tmp_path / "v.safetensors"), model)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "other", "model_fingerprint": ""}, "was made on other, this is tiny-llama"),
        ({"model_fingerprint": "0" * 32}, "was made on another tiny-llama: .* 0{32}, here"),
    ],
)
def test_another_model_is_a_warning(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    model = model_of()
    about = {k: v for k, v in {**model.about, **changed}.items() if v}
    saved = vector(about)
    path = saved.save(tmp_path / "v.safetensors")
    with pytest.warns(UserWarning, match=f"the vector {message}"):
        Vector.load(path, model)
    with (
        pytest.warns(UserWarning, match=f"the vector {message}"),
        saved.on(model, torch.ones(1, 3, dtype=torch.bool)),
    ):
        pass


def test_a_vector_for_another_family_is_a_warning() -> None:
    model = model_of()
    message = "is for a gemma2, this is a llama"
    assert model.differs_from({"model_type": "gemma2"}) == message
    with (
        pytest.warns(UserWarning, match=f"the vector {message}"),
        vector({"model_type": "gemma2"}).on(model, torch.ones(1, 3, dtype=torch.bool)),
    ):
        pass
    assert model.differs_from({"model_type": "llama"}) is None
    assert tiny_language_model("gemma3_text").differs_from({"model_type": "gemma3"}) is None


def test_the_same_name_with_other_weights_is_another_model() -> None:
    message = model_of().differs_from(model_of(seed=1).about)
    assert message is not None
    assert model_of(seed=1).fingerprint in message


def test_another_type_is_no_other_model_but_another_revision_is() -> None:
    model = replace(model_of(), source={"kind": "hub", "id": "some/model", "revision": "a" * 40})
    half = {**model.about, "model_dtype": "bfloat16", "model_fingerprint": "f" * 32}
    assert model.differs_from(half) is None
    assert "revision bbbb" in str(model.differs_from({**half, "model_revision": "b" * 40}))
    assert "this is some/model" in str(model.differs_from({**half, "model_id": "some/other"}))


def test_every_entry_of_a_models_about_is_a_text() -> None:
    assert json.loads(json.dumps(model_of().about)) == {
        "model": "tiny-llama",
        "model_fingerprint": model_of().fingerprint,
        "model_dtype": "float32",
        "model_type": "llama",
    }


def test_a_file_of_another_kind_is_not_written_over(tmp_path: Path) -> None:
    vector = Vector(1, "all", torch.ones(4), about={"model_type": "llama"})
    path = tmp_path / "v.safetensors"
    vector.save(path)
    (2 * vector).save(path)
    assert Vector.load(path).norm == pytest.approx(4.0)
    save_file({"model.embed_tokens.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "train.jsonl").write_text("{}\n")
    for name in ("model.safetensors", "train.jsonl"):
        held = (tmp_path / name).read_bytes()
        for write in (vector.save, partial(write_gguf, vectors=vector)):
            with pytest.raises(InputError, match="is there already and is not"):
                write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == held
    write_gguf(tmp_path / "v.gguf", vector)
    write_gguf(tmp_path / "v.gguf", 3 * vector)
    assert read_gguf(tmp_path / "v.gguf")[0].norm == pytest.approx(6.0)
