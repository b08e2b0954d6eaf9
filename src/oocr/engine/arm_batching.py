"""Which arms can share each pass: those that see the same tokens at every step."""

from __future__ import annotations

from oocr.data.batches import Batch
from oocr.engine.trainable import ArmSpec, Spec
from oocr.engine.training_batches import TrainingBatches
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import peft_config, stackable
from oocr.steering.positions import select_each
from oocr.steering.vectors import SteeringVector


def shared(model: LanguageModel, arm: ArmSpec, prepared: TrainingBatches, index: int) -> object:
    """Equal for arms that can share each pass: same site or shape, same tokens at every step."""
    spec = arm.spec
    order = prepared.order(arm.seed, arm.steps * arm.schedule.accumulate)
    seen = (arm.schedule, arm.steps, tuple(_seen(prepared.batches[i], spec) for i in order))
    off = arm.off_domain
    texts = None if off is None else (id(off.texts), off.tokens, off.batch)
    other = (texts, id(arm.without))
    if isinstance(spec, SteeringVector):
        return ("vector", spec.layer, spec.site, spec.positions, seen, other)
    config = peft_config(model, spec)
    alone = None if stackable(config) else index
    shape = (tuple(config["target_modules"]), spec.rank, spec.scale)
    return ("adapter", shape, seen, other, alone)


def _seen(batch: Batch, spec: Spec) -> tuple[object, ...]:
    """What a pass over a batch depends on, but for the answers."""
    parts = [batch.ids, batch.mask, batch.rows]
    if isinstance(spec, SteeringVector):
        parts.append(select_each(batch, spec.positions))
    return (tuple(batch.ids.shape), *(one.cpu().numpy().tobytes() for one in parts))
