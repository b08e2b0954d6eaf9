"""`oocr audit`: load both models, compare them, print the result, write a folder."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from oocr.audit.audit import audit
from oocr.audit.passes import MOST_TOKENS
from oocr.audit.record import UNJUDGED, Audit, AuditInfo
from oocr.audit.source import AuditSource, facts_of, fine_tune_of, is_here
from oocr.charts.pieces import number, percent
from oocr.data.texts import DistinctTexts, read_texts
from oocr.engine.memory import shape_of
from oocr.engine.selftest import load_model
from oocr.engine.trainable import versions
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.models.load import placement
from oocr.models.out_of_memory import memory_errors
from oocr.models.sources.hub import cached
from oocr.output_checks import check_output
from oocr.report.audit_page import build_audit_page
from oocr.runs.estimates.memory_estimate import check_loading
from oocr.steering.adapters import Adapter
from oocr.words import ranges

_STYLES = {
    "constant": "bold green",
    "partly": "bold yellow",
    "not constant": "bold red",
    "nothing": "bold",
    "texts disagree": "bold",
}


MORE_ROOM = (
    "Nothing was written. If nothing else can leave the memory: --dtype bfloat16 (half of "
    "float32), --device cpu, or shorter texts with --texts"
)


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """The options of `oocr audit`.

    `base` None: the base that the adapter names; `alpha`: for a `.pt` adapter (see `fine_tune_of`);
    `load` are arguments of `load_model`; `out` is the folder of all audits; `command` is how it was
    called.
    """

    base: str | None
    texts: Path | None
    checkpoint: bool
    alpha: float | None
    fit_steps: int
    load: dict[str, Any]
    out: Path
    command: str


def audit_source(given: str, options: AuditOptions) -> Path:
    """Audit a fine-tune, print what was found, and write it into a folder of `out`."""
    console = Console(highlight=False, soft_wrap=True)
    base, load = options.base, options.load
    plan = plan_of(options, console, inputs=[given])
    source = fine_tune_of(given, checkpoint=options.checkpoint, alpha=options.alpha, base=base)
    model = _base(source, base, partial(loaded_base, load=load, console=console))
    changed = source.adapter or loaded_base(given, load, console, shape_of(model).weights)
    _, folder = plan.done(source, model, changed)
    console.print(f"\nreport  {escape(str(folder / 'report.html'))}")
    console.print(f"vector  {escape(str(folder / 'vector.safetensors'))}")
    return folder


def loaded_base(
    name: str, load: dict[str, Any], console: Console, beside: int = 0
) -> LanguageModel:
    """Load a model, if memory has room for it and for `held` more bytes."""
    check_loading({"name": name, **load}, beside)
    return load_model(name, **load, on_progress=lambda text: console.print(escape(text)))


def plan_of(options: AuditOptions, console: Console, *, inputs: Sequence[str]) -> AuditPlan:
    """The plan of an audit; `InputError` for options that cannot work, before a model is loaded."""
    texts, load, out = options.texts, options.load, options.out
    placement(load["dtype"], load["device"], None)
    check_output(out, folder=True, inputs=[path for path in (*inputs, texts) if path is not None])
    asked = options.fit_steps, out, options.command, console
    if texts is None:
        return AuditPlan(None, *asked)
    read = read_texts(texts)
    if len(read.places) < 3:
        raise InputError(f"{texts}: texts: found {len(read.places)}; allowed: 3 or more")
    notes = (f"{texts}: {'; '.join(read.mended)}",) if read.mended else ()
    for words in notes:
        console.print(f"[yellow]note:[/] {escape(words)}")
    return AuditPlan(read, *asked, notes, texts.name)


@dataclass(frozen=True)
class AuditPlan:
    """How fine-tunes are audited: on which texts, with what, into which folder of all audits.

    `texts` None: the built-in passages; `notes`: remarks on the texts.
    """

    texts: DistinctTexts | None
    fit_steps: int
    out: Path
    command: str
    console: Console
    notes: tuple[str, ...] = ()
    name: str = "built-in neutral passages"

    def folder(
        self, source: AuditSource, model: LanguageModel, changed: Adapter | LanguageModel
    ) -> Path:
        """The folder of a fine-tune's audit: its name and a hash of what the numbers depend on."""
        depends_on = (None if self.texts is None else tuple(self.texts.places), self.fit_steps)
        return self.out / f"{_slug(source.name)}-{_digest(source, model, changed, depends_on)}"

    def done(
        self, source: AuditSource, model: LanguageModel, changed: Adapter | LanguageModel
    ) -> tuple[Audit, Path]:
        """Audit a fine-tune, print what was found, and write it into its folder."""
        console, notes = self.console, list(self.notes)

        def note(words: str) -> None:
            notes.append(words)
            console.print(f"[yellow]note:[/] {escape(words)}")

        for words in _notes(source, model):
            note(words)
        console.print(
            f"[bold]{escape(source.name)}[/] ({escape(source.what)}) on {escape(model.name)}; "
            f"texts: {escape(self.name)}"
        )
        folder = self.folder(source, model, changed)
        check_output(folder, folder=True)
        began = time.perf_counter()
        with memory_errors(f"auditing {source.name}", MORE_ROOM):
            findings = audit(
                model,
                changed,
                None if self.texts is None else self.texts.places,
                fit_steps=self.fit_steps,
                on_progress=lambda text: console.print(f"  [dim]{escape(text)} …[/]"),
                on_note=note,
            )
        models = [each for each in (model, changed) if isinstance(each, LanguageModel)]
        notes += [  # printed when they were loaded
            f"{each.name}: left out: {each.source['left out']}"
            for each in models
            if "left out" in each.source
        ]
        if isinstance(changed, LanguageModel):
            facts = {f"{key} of it": text for key, text in changed.about.items()}
        else:
            facts = dict(facts_of(changed))
        info = AuditInfo(
            name=source.name,
            source=source.given,
            what=source.what,
            facts=facts,
            model=model.about,
            texts=self.name,
            notes=tuple(notes),
            command=self.command,
            versions=versions(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - began, 1),
        )
        record = findings.model_copy(update={"info": info})
        _print(console, record)  # print first: the disk may be full
        build_audit_page(record, folder)
        record.save(folder)  # audit.json is written last: a folder that has it is complete
        return record, folder


def _base(
    source: AuditSource, name: str | None, loaded: Callable[[str], LanguageModel]
) -> LanguageModel:
    if name is not None:
        return loaded(name)
    if source.base is None:
        why = "a checkpoint" if source.adapter is None else "this adapter"
        if source.adapter is None and not is_here(source.given):
            why = f"{source.given} is no file or folder here, and {why}"
        raise InputError(f"--model: missing; {why} does not say what its base model is")
    try:
        return loaded(source.base)
    except InputError as error:
        raise InputError(
            f"--model: missing, and the base that the adapter names, {source.base!r}, cannot be "
            f"loaded: {error}"
        ) from error


def _notes(source: AuditSource, model: LanguageModel) -> list[str]:
    """Remarks on an audit: problems that do not prevent it."""
    notes = list(source.notes)
    if source.adapter is None:
        return notes
    about = source.adapter.about
    names = {model.name, model.about.get("model_id"), model.source.get("path")}
    known, revision = about.get("model"), about.get("base_revision")
    if known is not None and not {known, about.get("model_id", known), source.base} & names:
        notes.append(f"the adapter says that its base is {known}, and is audited on {model.name}")
    elif known is not None and revision is not None and (commit := model.source.get("revision")):
        folder = cached(model.source["id"], revision=revision)
        if commit not in (revision, folder.name if folder else None):
            notes.append(
                f"the adapter says that its base is {known} at revision {revision}, and is audited "
                f"at {commit}"
            )
    elif (trouble := model.differs_from(source.adapter.about)) and "fingerprint" in trouble:
        notes.append(f"the adapter {trouble}")
    alpha = source.adapter.about.get("alpha", "")
    if "assumed" in alpha:
        notes.append(f"alpha is {alpha}; say it with --alpha")
    return notes


def _digest(source: AuditSource, model: LanguageModel, changed: object, asked: object) -> str:
    """Hash of what the numbers depend on; eight hex digits."""
    digest = hashlib.sha256(model.fingerprint.encode())
    if isinstance(changed, LanguageModel):
        digest.update(changed.fingerprint.encode())
    elif source.adapter is not None:
        digest.update(repr(sorted(source.adapter.config.items(), key=str)).encode())
        for name, tensor in sorted(source.adapter.tensors.items()):
            digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    digest.update(repr(asked).encode())
    return digest.hexdigest()[:8]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-") or "audit"


def _blocks(layers: Sequence[int]) -> str:
    return f"block{'s' * (len(layers) > 1)} {ranges(layers)}" if layers else "no block"


def _print(console: Console, record: Audit) -> None:
    at = record.at_best
    used = f"{record.texts} of {record.given}" if record.given > record.texts else record.texts
    console.print(
        f"  {used} texts, {record.read:,} tokens (each text cut at {MOST_TOKENS}); "
        f"{record.tokens:,} predictions compared in the last third\n"
        f"  acts in {_blocks(record.layers)}; "
        f"KL(fine-tune ‖ base) {number(record.kl, 3)} nats a token\n"
    )
    console.print(Text(record.verdict, style=_STYLES[record.kind]))
    if record.kind in UNJUDGED:
        return
    console.print(_table(record))
    if record.fitted:
        share = record.fitted.recovered
        interval = f"[{percent(share.low)}, {percent(share.high)}]"
        console.print(
            f"best single vector  {percent(share.value)} % {interval} "
            f"at block {record.best}, cosine with the mean {number(record.fitted.cosine)}"
            if record.fitted.steps
            else f"best single vector  the mean; training at block {record.best} found no better"
        )
    console.print(f"random directions   {percent(max(record.random, -9.99))} % on average")
    for title, tokens in (("it says", record.says), ("and against", record.against)):
        words = " ".join(repr(token.token) for token in tokens[:8])
        console.print(f"{title:<18}  {escape(words)}")
    gates = ", ".join(
        f"{gate.token!r} {percent(gate.share)} % of energy on {percent(gate.of_tokens)} % of tokens"
        for gate in record.gates[:3]
    )
    gates = gates or "no token in particular"
    spread = number(at.constancy.norm_cv)
    console.print(f"gated by            {escape(gates)}; norms vary by {spread} of their mean")
    cost = record.cost
    console.print(
        f"on neutral text     KL to the base {number(cost.kl_changed, 3)} with the fine-tune, "
        f"{number(cost.kl_vector, 3)} with the vector; perplexity "
        f"{number(cost.perplexity_base)}, {number(cost.perplexity_changed)}, "
        f"{number(cost.perplexity_vector)} (base, fine-tune, vector)"
    )


def _table(record: Audit, most: int = 16) -> Table:
    table = Table(box=box.HORIZONTALS, pad_edge=False, padding=(0, 1))
    for title in ("block", "recovered", "95 %", "cosine", "|cos|", "energy"):
        table.add_column(title, justify="right", no_wrap=True)
    step = -(-len(record.blocks) // most)
    for place, block in enumerate(record.blocks):
        chosen = block.layer == record.best
        if place % step and not chosen:
            continue
        table.add_row(
            f"{'→ ' if chosen else ''}{block.layer}",
            f"{percent(block.recovered)} %",
            f"[{percent(block.low)}, {percent(block.high)}]",
            number(block.constancy.cosine),
            number(block.absolute),
            number(block.constancy.energy),
            style="bold" if chosen else "",
        )
    return table
