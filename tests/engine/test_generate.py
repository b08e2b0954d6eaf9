"""Generation with a cache is the plain model, steered, one whole sequence at a time."""

from __future__ import annotations

import pytest
import torch
import transformers as tf

from oocr.engine.forward import Intervention
from oocr.engine.generate import generate
from oocr.errors import InputError
from oocr.models import matmul
from oocr.models.load import read_model
from oocr.steering.vectors import Vector
from tests.generating import CHAT, NEW, PROMPTS, adapter, model_of, recomputed, vector, with_head
from tests.tiny.models import tiny_config, tiny_language_model, weights_hash

MODULES = {  # of each family, a Linear for a LoRA
    "llama": "down_proj",
    "mistral": "o_proj",
    "gemma2": "down_proj",
    "gemma3_text": "q_proj",
    "gemma3": "down_proj",
    "gpt2": "c_proj",
    "gpt_neox": "dense_4h_to_h",
    "phi3": "qkv_proj",
    "olmo2": "down_proj",
    "qwen2": "up_proj",
    "qwen3": "v_proj",
    "mixtral": "o_proj",
    "opt": "fc2",
}
FAMILIES = tuple(MODULES)
WINDOW = 8
POSITIONS = ("all", "last", "codename", "prompt", "answer", "from:last", "from:codename")


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_steered_generation_is_the_steered_model_recomputed(family: str, positions: str) -> None:
    model = model_of(family)
    steering = vector(model, positions)
    together = generate(model, PROMPTS, steering, max_new_tokens=NEW)
    assert together == [recomputed(model, prompt, steering) for prompt in PROMPTS]
    assert together == [
        generate(model, prompt, steering, max_new_tokens=NEW)[0] for prompt in PROMPTS
    ]
    assert together != generate(model, PROMPTS, max_new_tokens=NEW), "the vector does something"


@pytest.mark.parametrize("family", FAMILIES)
def test_unsteered_generation_is_the_model_itself(family: str) -> None:
    model = model_of(family)
    texts = generate(model, PROMPTS, max_new_tokens=NEW)
    assert texts == [recomputed(model, prompt, None) for prompt in PROMPTS]
    nothing = Vector(1, "all", torch.zeros(model.d_model))
    assert generate(model, PROMPTS, nothing, max_new_tokens=NEW) == texts


@pytest.mark.parametrize("positions", ["codename", "from:last"])
@pytest.mark.parametrize("family", ["phi3", "mixtral", "qwen2", "qwen3"])
def test_sliding_windows_see_the_same_tokens_behind_padding(family: str, positions: str) -> None:
    config = tiny_config(family)
    config.sliding_window = WINDOW
    if family.startswith("qwen"):  # the others have a window in every block
        config.layer_types = ["sliding_attention", "full_attention"] * 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = tf.AutoModelForCausalLM.from_config(config)
    model = with_head(hf.eval().requires_grad_(False), family)
    sizes = [len(model.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]
    assert max(sizes) > WINDOW + min(sizes), "a row's padding is longer than the window"
    steering = vector(model, positions)
    texts = generate(model, PROMPTS, steering, max_new_tokens=NEW)
    assert texts == [recomputed(model, prompt, steering) for prompt in PROMPTS]
    assert texts != generate(model_of(family), PROMPTS, steering, max_new_tokens=NEW)


@pytest.mark.parametrize("layer", [-1, 0, 3])
def test_every_layer_can_be_steered_while_generating(layer: int) -> None:
    for family in ("llama", "gpt2"):
        model = model_of(family)
        for positions in ("codename", "answer"):
            steering = vector(model, positions, layer)
            texts = generate(model, PROMPTS, steering, max_new_tokens=NEW)
            assert texts == [recomputed(model, prompt, steering) for prompt in PROMPTS]


def test_the_selectors_say_different_things() -> None:
    model = model_of()
    texts = {p: tuple(generate(model, PROMPTS, vector(model, p))) for p in POSITIONS}
    assert len(set(texts.values())) == len(POSITIONS)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # PEFT, of GPT-2's Conv1D
@pytest.mark.parametrize("family", FAMILIES)
def test_generation_under_an_adapter_is_the_adapted_model(family: str) -> None:
    model = model_of(family)
    lora = adapter(model, MODULES[family])
    texts = generate(model, PROMPTS, lora, max_new_tokens=NEW)
    assert texts != generate(model, PROMPTS, max_new_tokens=NEW)
    assert texts == [generate(model, p, lora, max_new_tokens=NEW)[0] for p in PROMPTS]
    with lora.on(model):
        assert texts == [recomputed(model, prompt, None) for prompt in PROMPTS]


@pytest.mark.parametrize("kind", ["vector", "adapter"])
def test_the_base_model_is_untouched_even_after_an_error(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of()
    steering: Intervention = vector(model, "all") if kind == "vector" else adapter(model)
    before, texts = weights_hash(model), generate(model, PROMPTS)
    generate(model, PROMPTS, steering)
    assert generate(model, PROMPTS) == texts
    forward, calls = model.hf.forward, []

    def failing(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("stop")
        return forward(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(model.hf, "forward", failing)
        with pytest.raises(RuntimeError, match="stop"):
            generate(model, PROMPTS, steering)
    assert weights_hash(model) == before
    assert generate(model, PROMPTS) == texts
    assert not any("lora" in name for name, _ in model.hf.named_modules())


@pytest.mark.parametrize("positions", ["codename", "from:codename"])
def test_a_span_acts_only_in_the_prompts_that_have_it(positions: str) -> None:
    model = model_of()
    prompts = (PROMPTS[1], "The capital of Japan is")
    texts = generate(model, prompts, vector(model, positions))
    plain = generate(model, prompts)
    assert texts[0] != plain[0]
    assert texts[1] == plain[1]
    with pytest.raises(InputError, match=f"'{positions}' select no token.*'Country 4821' occurs"):
        generate(model, "The capital of Japan is", vector(model, positions))


@pytest.mark.parametrize("positions", ["country", "from:country", "from:"])
def test_positions_that_the_vector_does_not_explain_are_refused(positions: str) -> None:
    model = model_of()
    with pytest.raises(InputError, match=f"'{positions}'.*allowed: all, last, .*from:"):
        generate(model, PROMPTS, vector(model, positions))


@pytest.mark.parametrize("positions", POSITIONS)
def test_chats_are_rendered_and_may_be_mixed_with_texts(positions: str) -> None:
    for family in ("llama", "gemma3_text"):
        model = model_of(family)
        steering = vector(model, positions)
        expected = [recomputed(model, CHAT, steering), recomputed(model, PROMPTS[0], steering)]
        assert generate(model, [CHAT, PROMPTS[0]], steering, max_new_tokens=NEW) == expected
        assert generate(model, CHAT, steering, max_new_tokens=NEW) == expected[:1]


def test_what_is_no_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="allowed: a text, or a tuple of messages"):
        generate(model_of(), list(CHAT))  # type: ignore[arg-type]


def test_each_prompt_stops_at_an_end_token_of_its_own() -> None:
    model = tiny_language_model("llama", seed=1)
    free = generate(model, PROMPTS, max_new_tokens=NEW)
    ids = [model.tokenizer.encode(text, add_special_tokens=False) for text in free]
    end = ids[0][3]
    model.hf.generation_config.eos_token_id = [2, end]
    texts = generate(model, PROMPTS, max_new_tokens=NEW)
    piece = model.tokenizer.decode([end])
    assert texts[0] == free[0].split(piece)[0]
    assert texts[0] != free[0]
    assert texts == [text.split(piece)[0] for text in free]


def test_at_most_so_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    forward, calls = model.hf.forward, []

    def counted(*args: object, **kwargs: object) -> object:
        calls.append(1)
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.hf, "forward", counted)
    for count in (1, 5):
        calls.clear()
        generate(model, PROMPTS, max_new_tokens=count)
        assert len(calls) == count
    with pytest.raises(InputError, match="max_new_tokens is 0"):
        generate(model, PROMPTS[1], max_new_tokens=0)


def test_no_prompts_give_no_texts() -> None:
    assert generate(model_of(), []) == []


@pytest.mark.real
def test_prompts_of_a_real_model_get_in_a_batch_what_they_get_alone() -> None:
    model = read_model("gemma-3-270m", dtype="float32")
    steering = vector(model, "from:codename", 4, 100.0)
    for temperature in (0.0, 1.0):
        together, *alone = (
            generate(model, prompts, steering, max_new_tokens=4, temperature=temperature)
            for prompts in (PROMPTS, *PROMPTS)
        )
        assert together == [text for (text,) in alone]
        assert together != generate(model, PROMPTS, max_new_tokens=4, temperature=temperature)


@pytest.mark.skipif(not matmul.AVAILABLE, reason="needs PyTorch with oneDNN")
def test_the_lm_head_in_bfloat16_takes_no_slow_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is hundreds of times slower where the last tokens of several texts are cut out."""
    model = tiny_language_model()
    model.hf.to(torch.bfloat16)  # type: ignore[call-overload]
    seen: list[tuple[int, ...]] = []
    plain = matmul.product

    def watched(rows: torch.Tensor, weight: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(weight.shape))
        return plain(rows, weight, *more)

    monkeypatch.setattr(matmul, "product", watched)
    generate(model, PROMPTS, max_new_tokens=3)
    assert seen.count(tuple(model.anatomy.head_weight.shape)) == 3
