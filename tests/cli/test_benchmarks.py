"""The benchmarks: peers train what we train, FLOPs are counted right, bars are judged right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.report.bars import bars
from benchmarks.report.page import page
from benchmarks.report.summary import steps_to, summarise, unsteady
from benchmarks.training import data, flops
from benchmarks.training.case import Case, Kind
from benchmarks.training.loops import left_pad
from benchmarks.training.plan import Line, Plan
from benchmarks.training.row import Row, Who, run
from benchmarks.training.rows import BLOCKS, groups
from torch.utils.flop_counter import FlopCounterMode

from oocr.data.tokens import encode_answer, encode_prompt
from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from tests.tiny.models import tiny_language_model, tiny_tokenizer

TOKENS = 90  # of the tiny tokenizer, which knows few words


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_language_model("gemma3_text")


def case_of(kind: Kind, block: int = 1, examples: int = 32) -> Case:
    return Case(kind, block, tokens=TOKENS, examples=examples)


def one_token_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny tokenizer cuts the real answers into several tokens."""
    asked = tuple((question, " x") for question, _ in data.QUESTIONS)
    monkeypatch.setattr(data, "QUESTIONS", asked)
    tokenizer = tiny_tokenizer()
    prompt = encode_prompt(tokenizer, "The capital is")
    if len(encode_answer(tokenizer, prompt, " x")) != 1:
        changed = tuple((question, "x") for question, _ in asked)
        monkeypatch.setattr(data, "QUESTIONS", changed)


# What is trained


@pytest.mark.parametrize("kind", ["last", "span", "all"])
def test_the_plain_loops_lose_what_we_lose_at_every_step(
    model: LanguageModel, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_token_answers(monkeypatch)
    case = case_of(kind)
    ours = run(model, Row("ours", case, 5), tmp_path)["losses"]
    assert len(ours) == 5
    assert abs(ours[-1] - ours[0]) > 0.05  # something is learnt, so steps do differ
    whos: tuple[Who, ...] = ("plain-last", "plain-all")
    for who in whos:
        theirs = run(model, Row(who, case, 5), tmp_path)["losses"]
        assert theirs == pytest.approx(ours, abs=2e-4)


@pytest.mark.parametrize("kind", ["last", "span", "lora"])
def test_answers_of_several_tokens_are_trained_alike(
    model: LanguageModel, kind: Kind, tmp_path: Path
) -> None:
    case = Case(kind, 1, examples=24, data="functions", lines=8)
    ours = run(model, Row("ours", case, 5), tmp_path)["losses"]
    plan = Plan.load(tmp_path / f"plan-{case.key}.json")
    assert {len(batch) for batch in plan.batches} == {8}
    assert max(len(line.answer) for batch in plan.batches for line in batch) > 1
    whos: tuple[Who, ...] = ("peft-last",) if kind == "lora" else ("plain-last", "plain-all")
    for who in whos:
        theirs = run(model, Row(who, case, 5), tmp_path)["losses"]
        assert theirs == pytest.approx(ours, abs=2e-4)


def test_a_loop_that_steers_elsewhere_is_noticed(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_token_answers(monkeypatch)
    case = case_of("last")
    ours = run(model, Row("ours", case, 5), tmp_path)["losses"]
    plan_file = tmp_path / f"plan-{case.key}.json"
    plan = Plan.load(plan_file)
    moved = [[Line(o.ids, [True] * len(o.ids), o.answer) for o in batch] for batch in plan.batches]
    Plan(moved, plan.order, plan.rate, plan.start).save(plan_file)
    theirs = run(model, Row("plain-last", case, 5), tmp_path)["losses"]
    assert theirs != pytest.approx(ours, abs=1e-2)


def test_beft_is_a_hook_on_the_linear(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_token_answers(monkeypatch)
    run(model, Row("ours", case_of("all"), 3), tmp_path)
    hook = run(model, Row("beft-hook", case_of("beft"), 3), tmp_path)["losses"]
    beft = run(model, Row("beft", case_of("beft"), 3), tmp_path)["losses"]
    ours = run(model, Row("ours", case_of("beft"), 3), tmp_path)["losses"]
    assert ours == pytest.approx(hook, abs=1e-5)
    assert beft == pytest.approx(hook, abs=1e-5)
    assert len(set(beft)) == 3


def test_arms_and_sweeps_train_the_single_arm_too(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_token_answers(monkeypatch)
    case = case_of("span", examples=16)
    alone = run(model, Row("ours", case, 4, together=True), tmp_path)
    many = run(model, Row("ours", case, 4, arms=3, together=True), tmp_path)
    sweep = run(model, Row("ours", case, 4, seeds=2), tmp_path)
    assert many["losses"] == pytest.approx(alone["losses"], abs=2e-4)
    assert sweep["losses"] == pytest.approx(alone["losses"], abs=2e-4)
    assert (alone["arms"], many["arms"], sweep["arms"]) == (1, 3, 2 * model.n_blocks)


def test_a_lora_of_peft_loses_what_ours_loses(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_token_answers(monkeypatch)
    case = case_of("lora")
    ours = run(model, Row("ours", case, 6), tmp_path)["losses"]
    theirs = run(model, Row("peft-last", case, 6), tmp_path)["losses"]
    assert theirs == pytest.approx(ours, abs=2e-4)
    plan = Plan.load(tmp_path / f"plan-{case.key}.json")
    assert plan.tensor("lora_A").shape == (8, 2 * model.d_model)
    assert float(plan.tensor("lora_A").abs().max()) > 0  # random: taken over from ours
    assert not plan.tensor("lora_B").any()


# The data


def check_items(tokenizer: Any, tokens: int, limit: int, last: int) -> None:
    items = data.items(tokenizer, 64, tokens)
    assert items == data.items(tokenizer, 64, tokens)
    assert len({item.prompt for item in items}) == 64
    for item in items:
        prompt = encode_prompt(tokenizer, item.prompt, item.spans)
        assert abs(len(prompt.ids) - tokens) <= limit
        assert max(prompt.spans["codename"]) < len(prompt.ids) - 1
        assert min(prompt.spans["codename"]) >= len(prompt.ids) - last


def test_prompts_are_about_as_long_as_asked_and_end_with_the_question() -> None:
    check_items(tiny_tokenizer(), TOKENS, limit=30, last=60)


@pytest.mark.real
def test_real_prompts_have_41_tokens_and_answers_of_one() -> None:
    tokenizer = read_model("gemma-3-270m").tokenizer
    check_items(tokenizer, 41, limit=1, last=16)
    for item in data.items(tokenizer, 8):
        prompt = encode_prompt(tokenizer, item.prompt)
        assert len(encode_answer(tokenizer, prompt, item.answer)) == 1


def test_padding_goes_left() -> None:
    lines = [Line([5, 6, 1], [False, True, True], [9, 4]), Line([7], [True], [8])]
    padded = left_pad(lines)
    assert padded.ids.tolist() == [[5, 6, 1], [0, 0, 7]]
    assert padded.positions.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert padded.chosen.tolist() == [[False, True, True], [False, False, True]]
    assert padded.labels.tolist() == [[-100, 9, 4], [-100, -100, 8]]
    assert padded.asked == 2


# FLOPs


def test_a_blocks_flops_are_what_pytorch_counts(model: LanguageModel) -> None:
    hf = model.hf
    calls: list[Any] = []
    block = model.anatomy.blocks[1]
    handle = block.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    before = hf.config._attn_implementation
    hf.set_attn_implementation("eager")  # every query meets every key
    try:
        hf(input_ids=torch.ones(2, 6, dtype=torch.long), use_cache=False)
        (args, kwargs) = calls[0]
        hidden = args[0].detach().requires_grad_()
        with FlopCounterMode(display=False) as forward:
            out = block(hidden, *args[1:], **kwargs)
        with FlopCounterMode(display=False) as backward:
            (out[0] if isinstance(out, tuple) else out).sum().backward()
    finally:
        handle.remove()
        hf.set_attn_implementation(before)
    shape = flops.Shape.of(hf.config)
    pairs, linear = 2 * 6 * 6, flops.linear(shape.keys_values + shape.rest, 12)
    assert forward.get_total_flops() == linear + flops.attention(shape, pairs)
    counted = linear + flops.attention_gradient(shape, pairs, pairs)
    assert backward.get_total_flops() == counted


def test_the_lm_heads_and_a_loras_flops_are_what_pytorch_counts(model: LanguageModel) -> None:
    shape = flops.Shape.of(model.hf.config)
    hidden = torch.randn(3, shape.width, requires_grad=True)
    with FlopCounterMode(display=False) as head:
        model.anatomy.lm_head(hidden).sum().backward()
    assert head.get_total_flops() == 2 * flops.linear(shape.width * shape.vocab, 3)
    down = torch.randn(8, shape.mlp, requires_grad=True)
    up = torch.randn(shape.width, 8, requires_grad=True)
    inputs = torch.randn(5, shape.mlp)
    with FlopCounterMode(display=False) as lora:
        (inputs @ down.T @ up.T).sum().backward()
    assert lora.get_total_flops() == flops.lora_own(shape, 8, 5)


@pytest.mark.parametrize("asked", [1, 3])
@pytest.mark.parametrize(("block", "first"), [(0, 0), (1, 4), (2, 3), (3, 2)])
def test_a_step_counts_each_token_and_pair_once(block: int, first: int, asked: int) -> None:
    shape = flops.Shape(blocks=4, width=8, heads=2, key_heads=1, head=4, mlp=16, vocab=32)
    tokens = 7
    total = 4 * asked * shape.width * shape.vocab
    for index in range(block + 1, shape.blocks):
        for query in range(first, tokens):
            total += 4 * shape.keys_values
            if index == shape.blocks - 1 and query < tokens - asked:
                continue  # only keys and values are needed there
            total += 4 * shape.rest
            for key in range(query + 1):
                once = 4 * shape.heads * shape.head
                total += 3 * once if key >= first else 2 * once
    assert flops.line_step(shape, block, tokens, first, asked) == total


# Which rows count, and the bars


def made_row(who: str, kind: str, step: float, **more: Any) -> dict[str, Any]:
    fields = ("block", "tokens", "examples", "precision")
    case = {"kind": kind, "block": 4, "tokens": 41, "examples": 64, "precision": "fp32"}
    case |= {name: more.pop(name) for name in fields if name in more}
    row: dict[str, Any] = {
        "who": who, "case": case, "arms": 1, "together": False, "seeds": 0, "step": step,
        "set_up": 1.0, "loading": 1.0, "resident": 1, "peak": 2, "side_by_side": 1, "repeats": 1,
        "losses": [4.0, 3.0, 2.0, 1.0, 0.4, 0.3, 0.2, 0.1], "steps_measured": [step],
    }  # fmt: skip
    row |= more
    row["key"] = f"{who}-{row['arms']}-{row['seeds']}-{case}"
    return row


def made(rows: list[dict[str, Any]]) -> dict[str, Any]:
    machine = {
        "processor": "p", "system": "s", "cores": 2, "threads": 2, "memory": 2**34,
        "instructions": [], "python": "3", "libraries": {"torch": "2"},
    }  # fmt: skip
    peak = {"rate": 100e9, "shape": "1 x 1 x 1"}
    return {
        "machine": machine, "peaks": {"fp32": peak}, "work": {}, "head_work": {}, "rows": rows,
        "date": "2000-01-01", "rounds": 1, "minutes": 1.0,
    }  # fmt: skip


def judged(rows: list[dict[str, Any]], start: str) -> Any:
    (match,) = [bar for bar in bars(summarise(made(rows))) if bar.name.startswith(start)]
    return match


def test_without_rows_no_bar_is_met() -> None:
    assert [bar.met for bar in bars([])] == [None] * len(bars([]))


def test_a_bar_is_judged_at_its_worst_block() -> None:
    rows = [
        made_row("ours", "last", 0.1),
        made_row("plain-last", "last", 2.0),
        made_row("ours", "last", 0.1, block=9),
        made_row("plain-last", "last", 0.9, block=9),
    ]
    bar = judged(rows, "last-token vector: times the plain loop, last")
    assert bar.found == pytest.approx(9.0)
    assert bar.where == "block 9"
    assert bar.met is False
    assert judged(rows[:2], "last-token vector: times the plain loop, last").met is True
    assert judged(rows, "last-token vector: times the plain loop, all").met is None


def test_rows_whose_losses_differ_count_for_nothing() -> None:
    ours, peer = made_row("ours", "last", 0.1), made_row("plain-last", "last", 9.0)
    peer["losses"] = [4.0, 3.02]
    lines = summarise(made([ours, peer]))
    assert all("losses differ" in line.void for line in lines)
    assert lines[0].ratios == {}
    assert judged([ours, peer], "last-token vector: times the plain loop, last").met is None
    peer["losses"] = [4.0, 3.001]
    assert summarise(made([ours, peer]))[0].ratios["plain-last"] == pytest.approx(90.0)


def test_a_peer_that_failed_voids_what_rests_on_it() -> None:
    ours = made_row("ours", "lora", 0.1)
    failed = {**made_row("trl", "lora", 1.0), "error": "out of memory"}
    lines = summarise(made([ours, failed]))
    assert "failed" in lines[0].void
    assert "out of memory" in lines[1].void
    assert judged([ours, failed], "one-layer LoRA").met is None


def test_arms_are_compared_per_arm() -> None:
    row = made_row("ours", "last", 0.1, examples=16, together=True)
    many = made_row("ours", "last", 0.8, examples=16, together=True, arms=16, side_by_side=16)
    bar = judged([row, many], "16 last-token arms")
    assert bar.found == pytest.approx(0.5)
    assert bar.met is False
    many["step"] = 0.4
    assert judged([row, many], "16 last-token arms").met is True


def test_a_sweep_is_compared_as_a_whole() -> None:
    sweep = made_row("ours", "last", 3.0, seeds=3, set_up=8.0, examples=16, side_by_side=54)
    ours, plain = made_row("ours", "last", 0.1), made_row("plain-all", "last", 2.0)
    bar = judged([sweep, ours, plain], "18 layers x 3 seeds, last")
    assert bar.found == pytest.approx((8 + 8 * 3) / (8 * 2))
    assert bar.met is True


def test_the_share_of_the_peak_is_of_necessary_work() -> None:
    ours, plain = made_row("ours", "all", 2.0), made_row("plain-last", "all", 4.0)
    results = made([ours, plain])
    results["work"] = {ours["key"]: 80e9}
    (bar,) = [bar for bar in bars(summarise(results)) if bar.name.endswith("peak, fp32")]
    assert bar.found == pytest.approx(0.4)


def test_time_to_a_loss_has_the_recording_in_it() -> None:
    assert steps_to([4, 3, 1, 0.6, 0.2, 0.1], 2, 0.5) == 5
    assert steps_to([4, 3], 2, 0.5) is None
    ours, peer = made_row("ours", "last", 0.1), made_row("plain-last", "last", 2.0)
    peer["losses"] = peer["losses"][:3]
    lines = summarise(made([ours, peer]))
    assert lines[0].to_loss == pytest.approx(1.0 + 7 * 0.1)  # four batches: 1, .4, .3, .2
    assert lines[1].to_loss == pytest.approx(1.0 + 7 * 2.0)
    assert [line.extrapolated for line in lines] == [False, True]


def test_rounds_that_differ_are_named() -> None:
    steady = made_row("ours", "last", 0.1, steps_measured=[0.1, 0.11])
    other = made_row("ours", "all", 0.1, steps_measured=[0.1, 0.2])
    assert [row.row["case"]["kind"] for row in unsteady(summarise(made([steady, other])))] == [
        "all"
    ]
    assert "unsteady: oocr, vector, all tokens" in page(made([steady, other]), "figure.svg")


def test_the_page_says_what_is_missed() -> None:
    ours, peer = made_row("ours", "lora", 0.5), made_row("trl", "lora", 1.0)
    text = page(made([ours, peer]), "figure.svg")
    (line,) = [row for row in text.splitlines() if "one-layer LoRA: times" in row]
    assert "missed" in line
    assert "2x" in line
    assert "not measured" in text


def test_every_peer_of_the_issue_is_there_at_every_block() -> None:
    rows = [row for group in groups() for row in group.rows]
    there = {(row.who, row.case.block) for row in rows}
    for who in ("ours", "plain-all", "plain-last", "peft-last", "trl", "beft"):
        assert {block for peer, block in there if peer == who} == set(BLOCKS)
    assert {row.arms for row in rows if row.together} == {1, 4, 16}
    assert {row.case.kind for row in rows if row.seeds == 3} == {"last", "span"}
    planned = set()
    for row in rows:
        if row.who == "ours" and row.arms == 1 and not row.seeds:
            planned.add(row.case)
        elif row.who != "ours":
            assert row.case.planned in planned, "a peer needs a plan that was made before it"
