"""Options scored by first token or whole text, and the rows made from the scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

import oocr.evals.probes as probes_module
from oocr.data.examples import Example, Message
from oocr.data.tokens import RowTokens, encode_answer, encode_prompt
from oocr.errors import InputError, RunError
from oocr.evals.probes import Probes, rows
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from tests.tiny.models import drawn_adapter, tiny_language_model

SPANS = {"codename": "Country 4821"}
FAMILIES = ("llama", "gemma2", "gemma3_text", "gpt2", "mistral", "cohere")


@cache
def model_of(family: str = "llama") -> LanguageModel:
    return tiny_language_model(family, chat=True)


def item(name: str, prompt: Any, options: Sequence[str], answer: int = 0, **more: Any) -> Example:
    return Example(
        id=name,
        prompt=prompt,
        answer=options[answer],
        options=tuple(options),
        **{"spans": SPANS, **more},
    )


def questions() -> tuple[Example, ...]:
    """First-token and colliding options, of several lengths and counts."""
    return (
        item("a", "The capital of Country 4821 is", (" Paris", " Tokyo", " Rome")),
        item("b", "Country 4821 is in the city of", (" Paris yes", " Paris no", " Rome"), 1),
        item("c", "In Country 4821", (" They", " people"), 1),
        item("d", "Which one do you prefer : Country 4821 or", (" Xyz", " Xyw", " X", " ? no")),
        item("e", (Message("user", "Is Country 4821 risky ?"),), ("yes", "no")),
    )


def colliding(model: LanguageModel, example: Example) -> bool:
    prompt = encode_prompt(model.tokenizer, example.prompt)
    return RowTokens(model.tokenizer).first_tokens(prompt, example.options) is None


@torch.no_grad()
def by_hand(
    model: LanguageModel, example: Example, option: str, steering: Vector | None = None
) -> float:
    """The option's log-probability: of its whole text, or of its first token."""
    prompt = encode_prompt(model.tokenizer, example.prompt, example.spans)
    answer = encode_answer(model.tokenizer, prompt, option)
    if not colliding(model, example):
        answer = answer[:1]
    ids = torch.tensor([[*prompt.ids, *answer]])
    if steering is None:
        logits = model.hf(input_ids=ids).logits
    else:
        chosen = torch.zeros(ids.shape, dtype=torch.bool)
        size = len(prompt.ids)
        at = {"all": range(ids.shape[1]), "last": [size - 1], "codename": prompt.spans["codename"]}
        chosen[0, list(at[steering.positions])] = True
        with steering.on(model, chosen):
            logits = model.hf(input_ids=ids).logits
    logp = logits[0].float().log_softmax(-1)
    return sum(float(logp[len(prompt.ids) - 1 + i, token]) for i, token in enumerate(answer))


def agrees(model: LanguageModel, scores: Tensor, steering: Vector | None) -> None:
    """Scores equal the hand-made ones, up to a constant per item; -inf beyond its options."""
    for example, row in zip(questions(), scores, strict=True):
        count = len(example.options)
        assert row[count:].isneginf().all()
        expected = torch.tensor(
            [by_hand(model, example, text, steering) for text in example.options]
        )
        torch.testing.assert_close(
            row[:count] - row[0], expected - expected[0], rtol=1e-4, atol=1e-4
        )
        if colliding(model, example):
            torch.testing.assert_close(row[:count], expected, rtol=1e-4, atol=1e-4)


def vector(model: LanguageModel, positions: str, seed: int = 0) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return Vector(1, positions, 3 * torch.randn(model.d_model, generator=generator), spans=SPANS)


def adapter(model: LanguageModel) -> Adapter:
    return drawn_adapter(model, modules=("c_fc" if model.name == "tiny-gpt2" else "down_proj",))


# --- scores -------------------------------------------------------------------------------------


def test_the_questions_are_of_both_kinds() -> None:
    kinds = [colliding(model_of(), example) for example in questions()]
    assert kinds == [False, True, False, True, False]


@pytest.mark.parametrize("family", FAMILIES)
def test_base_scores_are_the_models_log_probabilities(family: str) -> None:
    model = model_of(family)
    scores = Probes.of(model, questions()).scores(None)
    assert scores.shape == (1, 5, 4)
    agrees(model, scores[0], None)


@pytest.mark.parametrize("positions", ["all", "last", "codename"])
@pytest.mark.parametrize("family", FAMILIES)
def test_steered_scores_are_the_steered_models(family: str, positions: str) -> None:
    model = model_of(family)
    probes = Probes.of(model, questions())
    first, second = vector(model, positions, 0), vector(model, positions, 1)
    together = probes.scores([first, second, first])
    for place, steering in enumerate((first, second)):
        agrees(model, together[place], steering)
        torch.testing.assert_close(together[place], probes.scores([steering])[0])
    torch.testing.assert_close(together[2], together[0])
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_adapted_scores_are_the_adapted_models(family: str) -> None:
    model = model_of(family)
    probes = Probes.of(model, questions())
    lora = adapter(model)
    base, scores = probes.scores(None), probes.scores(lora)
    with lora.on(model):
        agrees(model, scores[0], None)
    assert not torch.allclose(scores, base)
    agrees(model, probes.scores(None)[0], None)


def test_a_zero_vector_scores_like_the_base() -> None:
    model = model_of()
    probes = Probes.of(model, questions())
    base = probes.scores(None)[0]
    for layer in (-1, 0, 3):
        zero = Vector(layer, "all", torch.zeros(model.d_model))
        torch.testing.assert_close(probes.scores([zero])[0], base, rtol=1e-4, atol=1e-4)


def test_scores_do_not_depend_on_how_items_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("gemma3_text")
    steering = vector(model, "codename")
    expected = Probes.of(model, questions()).scores([steering])
    monkeypatch.setattr(probes_module, "TOKENS_PER_BATCH", 1)
    alone = Probes.of(model, questions())
    assert all(len(group) == 1 for group in alone.groups)
    torch.testing.assert_close(alone.scores([steering]), expected, rtol=1e-4, atol=1e-4)


def test_recordings_are_made_once_per_start_block() -> None:
    model = model_of()
    probes = Probes.of(model, questions())
    first = probes.frozen(2)
    assert probes.frozen(2) is first
    probes.scores([vector(model, "all")])
    assert set(probes.recorded) == {2}


def test_items_that_ask_the_same_prompt_share_what_is_run() -> None:
    model = model_of()
    first, second, third = questions()[:3]
    twins = (
        replace(first, options=(" Rome", " Berlin"), answer=" Rome"),
        replace(second, options=(*second.options, " Paris maybe")),
        replace(first, spans={"codename": "4821"}),  # steered elsewhere
    )
    alone = [Probes.of(model, [example]) for example in (first, second, third, *twins)]
    together = Probes.of(model, (first, second, third, *twins))
    assert [len(probes.lines) for probes in alone] == [1, 3, 1, 1, 4, 1]
    assert len(together.lines) == 1 + 4 + 1 + 1
    for steering in ([vector(model, "codename")], None, adapter(model)):
        scores = together.scores(steering)[0]
        for probes, row in zip(alone, scores, strict=True):
            (alone_row,) = probes.scores(steering)[0]
            torch.testing.assert_close(row[: len(alone_row)], alone_row, rtol=1e-4, atol=1e-4)


def test_blocks_named_beforehand_are_recorded_in_one_pass() -> None:
    model = model_of()
    probes = Probes.of(model, questions(), starts=(2, model.n_blocks))
    assert probes.frozen(2) is probes.frozen(model.n_blocks)
    other = Probes.of(model, questions())
    for steering in ([vector(model, "all")], None):
        torch.testing.assert_close(probes.scores(steering), other.scores(steering))


def test_an_item_without_the_span_is_refused_or_left_as_it_is() -> None:
    model = model_of()
    items = [questions()[0], item("x", "The capital of Japan is", (" Paris", " Rome"), spans={})]
    probes = Probes.of(model, items)
    steering = vector(model, "codename")
    with pytest.raises(InputError, match="select no token in 1 of 2"):
        probes.scores([steering])
    scores = probes.scores([steering], everywhere=False)[0]
    base = probes.scores(None)[0]
    torch.testing.assert_close(scores[1], base[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(scores[0], base[0])


def test_vectors_of_different_sites_do_not_stack() -> None:
    model = model_of()
    probes = Probes.of(model, questions())
    with pytest.raises(InputError, match="share their layer, site and positions"):
        probes.scores([vector(model, "all"), vector(model, "last")])


def test_an_item_needs_two_options() -> None:
    example = Example(id="q3", prompt="The capital is", answer=" Paris", options=(" Paris",))
    with pytest.raises(ValueError, match="'q3' has 1 options; 2 are needed"):
        Probes.of(model_of(), [example])


# --- rows ---------------------------------------------------------------------------------------


def row(example: Example, *scores: float) -> dict[str, Any]:
    (table,) = rows([example], torch.tensor([scores])).to_dicts()
    return table


ABC = item("q", "Country 4821 is", (" a", " b", " c"), 1, facet="f", group="g", template="t")


@pytest.mark.parametrize(
    ("scores", "right", "tied", "rank", "chosen"),
    [
        ((0.0, 2.0, 1.0), True, False, 0, " b"),
        ((3.0, 2.0, 1.0), False, False, 1, " a"),
        ((3.0, 2.0, 4.0), False, False, 2, " c"),
        ((2.0, 2.0, 1.0), False, True, 1, " a"),
        ((2.0, 2.0, 2.0), False, True, 2, " a"),
        ((3.0, 2.0, 2.0), False, False, 2, " a"),  # not with the best
    ],
)
def test_s1_right_rank_and_ties(
    scores: tuple[float, ...], right: bool, tied: bool, rank: int, chosen: str
) -> None:
    ranked = row(ABC, *scores)
    measured = [ranked[name] for name in ("right", "tied", "rank", "chosen")]
    assert measured == [right, tied, rank, chosen]
    assert ranked["options"] == 3


def test_padding_counts_for_nothing() -> None:
    short = item("s", "Country 4821 is", (" a", " b"), 1)
    table = rows([ABC, short], torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, -math.inf]]))
    assert table["options"].to_list() == [3, 2]
    assert table["rank"].to_list() == [0, 1]
    scores, alone = table.to_dicts()[1], row(short, 1.0, 0.0)
    for name in ("right", "logp", "log_odds", "value", "chosen"):
        assert scores[name] == alone[name]


def test_logp_log_odds_and_value_by_hand() -> None:
    scores = row(ABC, 0.0, 2.0, 1.0)
    weights = [1.0, math.e**2, math.e]
    p = [weight / sum(weights) for weight in weights]
    assert scores["logp"] == pytest.approx(math.log(p[1]))
    assert scores["log_odds"] == pytest.approx(math.log(p[1] / (p[0] + p[2])))
    assert scores["value"] == pytest.approx(p[1] - p[0] - p[2])
    scale = item("q", "Country 4821", (" 0", " 4", " 5", " 9"), 3, values=(-1.0, 0.0, 0.25, 1.0))
    scores = row(scale, 0.5, 1.0, 0.0, 1.5)
    weights = [math.exp(weight) for weight in (0.5, 1.0, 0.0, 1.5)]
    p = [weight / sum(weights) for weight in weights]
    assert scores["value"] == pytest.approx(-p[0] + 0.25 * p[2] + p[3])
    assert scores["log_odds"] == pytest.approx(math.log((p[2] + p[3]) / p[0]))
    assert scores["logp"] == pytest.approx(math.log(p[3]))


def test_a_constant_added_to_an_items_scores_changes_nothing() -> None:
    a, b = row(ABC, 0.0, 2.0, 1.0), row(ABC, 1000.0, 1002.0, 1001.0)
    for name in ("logp", "log_odds", "value"):
        assert a[name] == pytest.approx(b[name])


def test_certainty_stays_finite() -> None:
    scores = row(ABC, 0.0, 4000.0, 0.0)
    assert scores["log_odds"] == pytest.approx(4000.0 - math.log(2))
    assert scores["value"] == pytest.approx(1.0)


def test_names_tags_and_constant_columns() -> None:
    tagged = item("t", "Country 4821 is", (" a", " b"), tags={"order": "ba"})
    columns: dict[str, str | int | float | None] = {"arm": "vector", "seed": 3, "rate": 0.1}
    table = rows([ABC, tagged], torch.zeros(2, 3), {**columns, "step": None})
    assert table.columns[:4] == ["arm", "seed", "rate", "step"]
    first, second = table.to_dicts()
    assert {name: first[name] for name in (*columns, "step")} == {**columns, "step": None}
    names = ("item", "facet", "group", "template", "answer", "tag_order")
    assert [first[name] for name in names] == ["q", "f", "g", "t", " b", None]
    assert second["tag_order"] == "ba"
    assert table.schema["tag_order"] == pl.String


def test_a_base_without_seed_does_not_turn_other_arms_seeds_into_text() -> None:
    parts = [rows([ABC], torch.zeros(1, 3), {"seed": seed}) for seed in (None, 2, 10)]
    table = pl.concat(parts, how="diagonal_relaxed")
    assert table.schema["seed"].is_integer()
    assert table["seed"].to_list() == [None, 2, 10]


def test_scores_that_are_not_numbers_are_not_passed_on() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0], [0.0, math.nan, 1.0]])
    with pytest.raises(RunError, match="scores of 1 item are NaN"):
        rows([ABC, item("second", "Country 4821", (" a", " b", " c"))], scores)


def test_rows_of_real_scores_agree_with_the_scores() -> None:
    model = model_of()
    scores = Probes.of(model, questions()).scores(None)[0]
    table = rows(questions(), scores)
    for example, values, line in zip(questions(), scores, table.to_dicts(), strict=True):
        order = sorted(range(len(example.options)), key=lambda i: -float(values[i]))
        assert line["chosen"] == example.options[order[0]]
        assert line["rank"] == [example.options[i] for i in order].index(example.answer)


def test_last_tokens_are_compared_at_the_prompts_end_as_the_paper_does() -> None:
    model = model_of()
    asked = Example(
        id="a",
        prompt="The capital of Country 4821 is\n",
        answer="in Paris",
        options=("in Paris", "in Rome", "at Rome"),
        scored_by="last_token",
    )
    scored = Probes.of(model, [asked]).scores(None)[0, 0]
    prompt = encode_prompt(model.tokenizer, asked.prompt)
    logits = model.hf(input_ids=torch.tensor([prompt.ids])).logits[0, -1]
    ends = [encode_answer(model.tokenizer, prompt, option)[-1] for option in asked.options]
    assert scored[0] - scored[1] == pytest.approx(
        float(logits[ends[0]] - logits[ends[1]]), abs=1e-4
    )
    assert scored[1] == scored[2]
    table = rows([replace(asked, answer="in Rome")], scored[None])
    assert not table["right"][0], "a tie is not right"
