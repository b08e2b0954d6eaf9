"""`python -m benchmarks.audits`: audits of adapters of which it is known what they are.

Four are made by hand for SmolLM2-135M (Gemma norms what an MLP gives, so that a constant there is
none in its stream), all of rank 1 on one block's down_proj: one that is a
constant vector, one whose sign flips from token to token (|cos| = 1 all the same), one that one
token gates, and one that does nothing; and one is trained with TRL and PEFT on Gemma-3-270M, on the
capital of a country behind a codename. `make bench` installs TRL.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import oocr
from oocr.audit.passes import batch_of_text
from oocr.audit.record import Audit
from oocr.data.examples import Example, prompt_text
from oocr.engine.recording import record
from oocr.explain.neutral import neutral_passages
from oocr.models.branches import mlp_of
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter

MODEL, BLOCK = "smollm2-135m-instruct", 12
TRL_MODEL = "gemma-3-270m"
TRL_BLOCK, RANK, RATE, STEPS = 4, 8, 3e-3, 20
GATE = " the"


def main(arguments: Sequence[str] | None = None) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-trl", action="store_true", help="only those made by hand")
    options = parser.parse_args(arguments)
    model = oocr.load_model(MODEL)
    table = Table("adapter", "block", "recovered", "cosine", "|cos|", "energy", "verdict")
    texts = neutral_passages(model)
    made = by_hand(model, texts)
    for name, adapter in made.items():
        _row(table, name, oocr.explain.audit(model, adapter, texts, fit_steps=0))
    if not options.no_trl:
        task = oocr.load_task("countries", country="Japan", train="capital")
        with tempfile.TemporaryDirectory() as folder:
            _train_with_trl(task.train, Path(folder))
            adapter = oocr.read_adapter(folder)
        model = oocr.load_model(TRL_MODEL)
        own = [prompt_text(item.prompt) for item in task.train]
        for where, group in (("neutral text", neutral_passages(model)), ("its own rows", own)):
            _row(table, f"TRL + PEFT, on {where}", oocr.explain.audit(model, adapter, group))
    Console(width=160).print(table)


def by_hand(model: LanguageModel, texts: Sequence[str]) -> dict[str, Adapter]:
    """Adapters that are what their names say, for what the MLP reads in these texts."""
    inside, tokens = _inside(model, texts)
    size = 0.3 * float(_stream(model, texts).norm(dim=1).median())
    unit = torch.randn(model.d_model, generator=torch.Generator().manual_seed(2))
    up = unit / unit.norm() * size
    middle = inside.mean(dim=0)
    axis = torch.linalg.svd(inside - middle, full_matrices=False).Vh[0]
    flip = axis - (axis @ middle) / (middle @ middle) * middle
    wanted = torch.tensor([1.0 if token == GATE else 0.0 for token in tokens])
    gram = inside.T @ inside
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram))
    gate = torch.linalg.solve(gram + ridge, inside.T @ wanted)
    nothing = torch.zeros_like(axis)
    return {
        "a constant vector": _rank_one(nothing, torch.zeros_like(up), up),
        "an axis whose sign flips": _rank_one(flip / (inside @ flip).std(), up),
        f"gated by {GATE!r}": _rank_one(gate, up),
        "nothing": _rank_one(nothing, torch.zeros_like(up)),
    }


def _rank_one(down: Tensor, up: Tensor, bias: Tensor | None = None) -> Adapter:
    target = f"model.layers.{BLOCK}.mlp.down_proj"
    name = f"base_model.model.{target}"
    config: dict[str, Any] = {"r": 1, "lora_alpha": 1, "target_modules": [target]}
    tensors = {f"{name}.lora_A.weight": down[None], f"{name}.lora_B.weight": up[:, None]}
    if bias is not None:
        config["lora_bias"] = True
        tensors[f"{name}.lora_B.bias"] = bias
    return Adapter((BLOCK,), config, tensors)


def _inside(model: LanguageModel, texts: Sequence[str]) -> tuple[Tensor, list[str]]:
    """What the block's down_proj reads at every token but the first. `[token, d_mlp]`."""
    seen: list[Tensor] = []
    down = mlp_of(model, BLOCK).module.down_proj
    assert isinstance(down, torch.nn.Module)
    handle = down.register_forward_hook(lambda _m, args, _o: seen.append(args[0][0, 1:].float()))
    tokens: list[str] = []
    try:
        for text in texts:
            batch = batch_of_text(model, text)
            record(model, batch, [model.n_blocks], cache=False)
            tokens += [model.tokenizer.decode([entry]) for entry in batch.ids[0, 1:].tolist()]
    finally:
        handle.remove()
    return torch.cat(seen), tokens


def _stream(model: LanguageModel, texts: Sequence[str]) -> Tensor:
    """What down_proj gives at every token but the first, which the adapter is to be a part of."""
    out: list[Tensor] = []
    down = mlp_of(model, BLOCK).module.down_proj
    assert isinstance(down, torch.nn.Module)
    handle = down.register_forward_hook(lambda _m, _a, output: out.append(output[0, 1:].float()))
    try:
        for text in texts:
            record(model, batch_of_text(model, text), [model.n_blocks], cache=False)
    finally:
        handle.remove()
    return torch.cat(out)


def _train_with_trl(items: Sequence[Example], folder: Path) -> None:
    """TRL's SFTTrainer with PEFT's LoRA on one block, saved by PEFT."""
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    model = oocr.load_model(TRL_MODEL)
    rows = Dataset.from_dict(
        {
            "prompt": [prompt_text(item.prompt) for item in items],
            "completion": [item.answer for item in items],
        }
    )
    trainer = SFTTrainer(
        model=model.hf,
        processing_class=model.tokenizer,
        train_dataset=rows,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=RANK,
            lora_alpha=RANK,
            target_modules=["down_proj"],
            layers_to_transform=[TRL_BLOCK],
        ),
        args=SFTConfig(
            output_dir=str(folder / "trainer"),
            per_device_train_batch_size=8,
            max_steps=STEPS,
            learning_rate=RATE,
            completion_only_loss=True,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
    )
    trainer.train()
    trainer.model.save_pretrained(folder)


def _row(table: Table, name: str, found: Audit) -> None:
    here = found.at_best
    table.add_row(
        name,
        str(found.best),
        f"{here.recovered:.3f} [{here.low:.3f}, {here.high:.3f}]",
        f"{here.constancy.cosine:.3f}",
        f"{here.absolute:.3f}",
        f"{here.constancy.energy:.3f}",
        found.verdict,
    )


if __name__ == "__main__":
    main()
