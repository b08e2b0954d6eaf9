"""What `oocr audit` takes: checkpoints, adapters (folder, file, Hub), their bases, texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from oocr.audit.record import Audit
from tests.audit.test_audit import TEXTS, model_of
from tests.audit.test_audit_command import constant, folder_in
from tests.command_line import Call
from tests.tiny.models import tiny_model, tiny_tokenizer
from tests.tiny.runs import save_tiny_model


def test_a_checkpoint_is_audited_against_its_base(call: Call, home: Path, tmp_path: Path) -> None:
    other = tiny_model("llama")
    weight = other.model.layers[2].mlp.down_proj.weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    weight.data += 0.3 * noise
    other.save_pretrained(tmp_path / "tuned")
    tiny_tokenizer().save_pretrained(tmp_path / "tuned")
    options = ("--texts", home / "texts.txt", "--out", tmp_path / "a", "--fit-steps", 4)
    code, out, err = call("audit", tmp_path / "tuned", "--model", home / "base", *options)
    assert (code, err) == (0, "")
    assert "(checkpoint)" in out
    assert "acts in blocks 2–3" in out
    record = Audit.load(folder_in(out))
    assert record.blocks[0].constancy.norm == 0
    assert record.cost.kl_changed > 0
    code, _, err = call("audit", tmp_path / "tuned", *options)
    assert code == 2
    assert "a checkpoint does not say what its base model is" in err
    assert "no file or folder" not in err
    code, _, err = call("audit", "nowhere", *options)
    assert (code, "nowhere is no file or folder here" in err) == (2, True)
    code, _, err = call("audit", tmp_path / "none" / "x" / "y", "--model", home / "base", *options)
    assert (code, "no such file or folder" in err) == (2, True)


def kl_of(out: str) -> float:
    return Audit.load(folder_in(out)).kl


def test_an_adapter_is_the_same_by_its_folder_and_by_its_files(
    call: Call, home: Path, tmp_path: Path
) -> None:
    folder = replace(constant(home)).save(tmp_path / "lora")
    (folder / "oocr.json").unlink()
    options = ("--texts", home / "texts.txt", "--out", tmp_path / "a", "--fit-steps", 0)
    whole = kl_of(call("audit", folder, *options).out)
    assert whole > 1e-3
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        code, out, _ = call("audit", folder / name, *options)
        assert (code, kl_of(out)) == (0, whole)
        assert f"{name} of a PEFT folder" in out
    code, _, err = call("audit", folder, "--checkpoint", *options)
    assert (code, f"--checkpoint: {folder} is an adapter" in err) == (2, True)
    code, _, err = call("audit", home / "base" / "model.safetensors", *options)
    assert (code, f"give its folder: {home / 'base'}" in err) == (2, True)
    code, _, err = call("audit", tmp_path, *options)
    assert (code, f"did you mean {folder}?" in err) == (2, True)


def test_a_merged_folder_that_keeps_its_adapter(call: Call, home: Path, tmp_path: Path) -> None:
    both = replace(constant(home)).save(tmp_path / "both")
    (both / "oocr.json").unlink()
    other = tiny_model("llama")
    other.model.layers[2].mlp.down_proj.weight.data *= 1.5
    other.save_pretrained(tmp_path / "merged")
    tiny_tokenizer().save_pretrained(tmp_path / "merged")
    for file in (tmp_path / "merged").iterdir():
        (both / file.name).write_bytes(file.read_bytes())
    base = ("--model", home / "base", "--texts", home / "texts.txt", "--out", tmp_path / "a")
    options = (*base, "--fit-steps", 0)
    merged = kl_of(call("audit", tmp_path / "merged", *options).out)
    code, out, _ = call("audit", both, "--checkpoint", *options)
    assert (code, kl_of(out)) == (0, merged)
    assert "left out: the adapter that lies beside the whole model" in out
    assert "lies beside the whole model" in Audit.load(folder_in(out)).info.notes[-1]
    code, out, _ = call("audit", both, *options)
    assert "note: a whole model lies beside the adapter and is left out; --checkpoint" in out
    assert kl_of(out) != merged
    (both / "adapter_model.safetensors").unlink()
    code, out, _ = call("audit", both, *options)
    assert (code, kl_of(out)) == (0, merged)
    assert call("doctor", both).code == 0


def test_a_grown_vocabulary_is_compared_on_the_shared_tokens(
    call: Call, home: Path, tmp_path: Path
) -> None:
    options = ("--model", home / "base", "--texts", home / "texts.txt", "--out", tmp_path / "a")
    other, tokenizer = tiny_model("llama"), tiny_tokenizer()
    other.model.layers[2].mlp.down_proj.weight.data *= 1.5
    kls: list[float] = []
    for name, more in (("same", 0), ("grown", 8)):
        rows = other.config.vocab_size + more
        tokenizer.add_special_tokens({"additional_special_tokens": [f"<{i}>" for i in range(more)]})
        other.resize_token_embeddings(rows, mean_resizing=False)
        other.lm_head.weight.data[-8:] += more  # likely ones, if they counted
        other.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        code, out, err = call("audit", tmp_path / name, *options, "--fit-steps", 2)
        assert (code, err) == (0, "")
        kls.append(kl_of(out))
    assert kls[1] == pytest.approx(kls[0], rel=1e-4)
    notes = Audit.load(folder_in(out)).info.notes
    assert "has 8 tokens more than the base's (520 and 512)" in notes[0]
    assert "among the 512 shared tokens" in notes[0]
    ids = {token: 511 - id for token, id in tokenizer.get_vocab().items() if id < 512}
    data = json.loads((tmp_path / "grown" / "tokenizer.json").read_text())
    data["model"]["vocab"] = {token: ids[token] for token in data["model"]["vocab"]}
    data["added_tokens"] = []
    (tmp_path / "grown" / "tokenizer.json").write_text(json.dumps(data))
    code, _, err = call("audit", tmp_path / "grown", *options)
    assert (code, "its tokenizer has other tokens than" in err) == (2, True)


def test_the_revision_of_the_base_and_of_the_adapter_are_honoured(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    old, new = "0" * 40, "1" * 40
    for repository in ("base", "lora"):
        at = tmp_path / "hub" / f"models--me--{repository}"
        for number, (revision, commit) in enumerate((("main", new), ("v1", old))):
            if repository == "base":
                save_tiny_model(at / "snapshots" / commit, seed=number)
            else:
                folder = constant(home).save(at / "snapshots" / commit)
                (folder / "oocr.json").unlink()
                file = folder / "adapter_config.json"
                named = {"base_model_name_or_path": "me/base", "lora_alpha": number + 1}
                config = json.loads(file.read_text()) | named | {"revision": ("main", "v1")[number]}
                file.write_text(json.dumps(config))
            (at / "refs").mkdir(exist_ok=True)
            (at / "refs" / revision).write_text(commit)
    options = ("--texts", home / "texts.txt", "--out", tmp_path / "a", "--fit-steps", 0)
    for given, commit, alpha in (("me/lora", new, "1 "), ("me/lora@v1", old, "2 ")):
        code, out, err = call("audit", given, *options)
        assert (code, err) == (0, "")
        info = Audit.load(folder_in(out)).info
        assert info.model["model_revision"] == commit
        assert commit in info.what
        assert info.facts["Alpha"].startswith(alpha)
        assert "at revision" in info.facts["Names as its base"]
        assert info.notes == ()
    code, out, _ = call("audit", "me/lora@v1", "--model", "me/base", *options)
    assert "its base is me/base at revision v1, and is audited at 1111" in out
    code, out, _ = call("audit", "me/lora@v1", "--model", "me/base@v1", *options)
    assert (code, "note:" in out) == (0, False)
    code, _, err = call("audit", "me/lora@v3", *options)
    assert (code, "v3" in err) == (2, True)
    here = constant(home).save(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    code, _, err = call("audit", "here@v1", *options)
    assert code == 2
    assert "only a Hugging Face id has revisions, not " in err
    file = here / "adapter_config.json"
    two = {"base_model_name_or_path": "me/base@v1", "revision": "main"}
    file.write_text(json.dumps(json.loads(file.read_text()) | two))
    (here / "oocr.json").unlink()
    code, _, err = call("audit", here, *options)
    assert code == 2
    assert "revision: found 'main' beside 'me/base@v1'; allowed: one of" in err


def test_what_does_not_land_is_refused_with_its_keys(
    call: Call, home: Path, tmp_path: Path
) -> None:
    adapter = constant(home)
    options = ("--texts", home / "texts.txt", "--out", tmp_path / "a")
    tensors = {
        k.replace("down_proj", "sideways"): tensor.clone() for k, tensor in adapter.tensors.items()
    }
    extra = replace(adapter, tensors={**adapter.tensors, **tensors})
    code, _, err = call("audit", extra.save(tmp_path / "extra"), *options)
    assert code == 2
    assert "does not adapt 1 module whose tensors are here" in err
    assert "mlp.sideways" in err
    fewer = {k: tensor for k, tensor in adapter.tensors.items() if "bias" not in k}
    code, _, err = call("audit", replace(adapter, tensors=fewer).save(tmp_path / "few"), *options)
    assert code == 2
    assert "lora_bias: adapter_config.json says true, and 0 of 1 module have its tensors" in err
    assert not (tmp_path / "a").exists()


def test_the_base_is_taken_from_the_adapter_or_asked_for(
    call: Call, home: Path, tmp_path: Path
) -> None:
    options = ("--texts", home / "texts.txt", "--out", tmp_path / "a", "--fit-steps", 0)
    plain = replace(constant(home), about={})
    code, _, err = call("audit", plain.save(tmp_path / "plain"), *options)
    assert (code, "--model: missing; this adapter" in err) == (2, True)
    far = replace(plain, about={"model": "someone/not-here"}).save(tmp_path / "far")
    code, _, err = call("audit", far, *options)
    assert code == 2
    assert "the base that the adapter names, 'someone/not-here', cannot be loaded" in err
    code, out, _ = call("audit", far, "--model", home / "base", *options)
    assert code == 0
    assert "note: the adapter says that its base is someone/not-here" in out
    notes = Audit.load(folder_in(out)).info.notes
    assert notes[0] in (folder_in(out) / "report.html").read_text()


def test_a_dict_of_tensors_needs_its_alpha(call: Call, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "lora.pt"
    torch.save(dict(constant(home).tensors), path)
    options = ("--model", home / "base", "--texts", home / "texts.txt", "--out", tmp_path / "a")
    code, out, _ = call("audit", path, *options, "--fit-steps", 0)
    assert code == 0
    assert "note: alpha is 32 (assumed" in out
    code, out, _ = call("audit", path, *options, "--alpha", 1, "--fit-steps", 0)
    assert (code, "note:" in out) == (0, False)
    folder = constant(home).save(tmp_path / "folder")
    code, _, err = call("audit", folder, *options, "--alpha", 1)
    assert (code, "adapter_config.json says it" in err) == (2, True)
    (tmp_path / "empty").mkdir()
    code, _, err = call("audit", tmp_path / "empty", *options)
    assert (code, "found neither adapter_config.json" in err) == (2, True)


def test_texts_are_read_before_anything_is_loaded(call: Call, home: Path, tmp_path: Path) -> None:
    given = constant(home).save(tmp_path / "a")
    (tmp_path / "two.txt").write_text("one\n\ntwo")
    code, _, err = call("audit", given, "--texts", tmp_path / "two.txt", "--model", "no-such")
    assert (code, "two.txt: texts: found 2; allowed: 3 or more" in err) == (2, True)
    rows = [{"prompt": text, "answer": " Paris", "from": "me"} for text in TEXTS]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    code, out, _ = call("audit", given, "--texts", file, "--out", tmp_path / "o", "--fit-steps", 0)
    assert (code, "texts: rows.jsonl" in out) == (0, True)
    left_out = f"keys left out, with the number of their rows: 'from' ({len(TEXTS) + 1})"
    for words in (left_out, "1 text left out, the same as one before"):
        assert words in call("read", file)[1] or words.startswith("1 text")
        assert words in out
        assert words in Audit.load(folder_in(out)).info.notes[0]


def test_a_hub_id_is_taken_from_the_cache(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    options = ("--model", home / "base", "--texts", home / "texts.txt", "--out", tmp_path / "a")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, _, err = call("audit", "someone/adapter", *options)
    assert (code, "hf download someone/adapter" in err) == (2, True)
    folder = constant(home).save(tmp_path / "0123abcd")
    (folder / "oocr.json").unlink()
    asked: list[Any] = []

    def cached(name: str, **more: Any) -> str:
        asked.append((name, more["local_files_only"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    code, out, _ = call("audit", "someone/adapter", *options, "--fit-steps", 0)
    assert code == 0
    assert asked == [("someone/adapter", True)]
    assert "LoRA on Hugging Face, commit 0123abcd" in out
    assert folder_in(out).name.startswith("adapter-")


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_trained_by_peft_and_trl(
    call: Call, home: Path, tmp_path: Path, rslora: bool
) -> None:
    trl = pytest.importorskip("trl", reason="needs the extra: bench")
    datasets = pytest.importorskip("datasets", reason="needs the extra: bench")
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(home / "base")
    trainer = trl.SFTTrainer(
        model=hf,
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "runs"),
            max_steps=8,
            per_device_train_batch_size=4,
            learning_rate=0.02,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
        ),
        train_dataset=datasets.Dataset.from_dict({"text": [*TEXTS, *TEXTS]}),
        processing_class=tiny_tokenizer(),
        peft_config=LoraConfig(
            r=2, target_modules=["down_proj", "q_proj"], task_type="CAUSAL_LM", use_rslora=rslora
        ),
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "theirs"))
    options = ("--texts", home / "texts.txt", "--out", tmp_path / "a", "--fit-steps", 6)
    code, out, err = call("audit", tmp_path / "theirs", *options)
    assert (code, err) == (0, "")
    assert "a PEFT folder" in out
    assert "acts in blocks 0–3" in out
    record = Audit.load(folder_in(out))
    assert record.kl > 1e-3
    assert record.info.facts["Modules"] == "down_proj, q_proj"
    assert ("rsLoRA" in record.info.facts.get("Besides B A", "")) is rslora
    # What is compared is what PEFT itself computes.
    theirs = PeftModel.from_pretrained(tiny_model("llama"), tmp_path / "theirs").eval()
    import oocr

    ids = torch.tensor([[5, 6, 7, 8, 9, 30, 31]])
    model = model_of()
    with oocr.read_adapter(tmp_path / "theirs").on(model):
        assert torch.equal(model.hf(input_ids=ids).logits, theirs(input_ids=ids).logits)
