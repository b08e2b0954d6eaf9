"""Peer: TRL's SFTTrainer with a PEFT LoRA in one layer, its settings made as lean as they go.

Off, since they cost time or change the numbers: gradient checkpointing (TRL's default), clipping,
weight decay, warm-up, shuffling, packing, dropout, saving, reporting.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from typing import Any

import torch

from benchmarks.training.case import RANK, Case
from benchmarks.training.loops import Timed
from benchmarks.training.plan import Plan


def trl_loop(hf: Any, tokenizer: Any, plan: Plan, case: Case, steps: int, batch: int) -> Timed:
    """Train the LoRA for some steps on the plan's batches."""
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    losses: list[float] = []
    ends: list[float] = []

    class Losses(SFTTrainer):  # type: ignore[misc]
        """The trainer's own log would do, but it is rounded and synchronizes."""

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            losses.append(float(loss.detach()))
            return loss

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_args: Any, **_kwargs: Any) -> None:
            ends.append(time.perf_counter())

        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            ends.append(time.perf_counter())

    began = time.perf_counter()
    lines = [line for step in range(steps) for line in plan.step(step)]
    rows = Dataset.from_dict(
        {
            "input_ids": [[*line.ids, *line.answer] for line in lines],
            "completion_mask": [[0] * len(line.ids) + [1] for line in lines],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Losses(
            model=hf,
            processing_class=tokenizer,
            train_dataset=rows,
            callbacks=[Clock()],
            peft_config=LoraConfig(
                task_type="CAUSAL_LM",
                r=RANK,
                lora_alpha=RANK,
                lora_dropout=0.0,
                target_modules=["down_proj"],
                layers_to_transform=[case.block],
            ),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=batch,
                max_steps=steps,
                learning_rate=plan.rate,
                lr_scheduler_type="constant",
                optim="adamw_torch",  # without weight decay AdamW is Adam
                weight_decay=0.0,
                max_grad_norm=0.0,
                train_sampling_strategy="sequential",
                completion_only_loss=True,
                packing=False,
                gradient_checkpointing=False,
                bf16=case.precision == "bf16",
                use_cpu=not torch.cuda.is_available(),
                dataloader_pin_memory=False,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
        )
        named = dict(trainer.model.named_parameters())
        with torch.no_grad():
            for short in ("lora_A", "lora_B"):
                (own,) = [entry for name, entry in named.items() if f".{short}." in name]
                own.copy_(plan.tensor(short))
        trainer.train()
        trainer.model.unload()
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    return Timed(losses, seconds, ends[0] - began)
