"""`oocr audit` of several fine-tunes: each base is loaded once, finished audits are kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oocr.audit.record import FILE, UNJUDGED, Audit
from oocr.audit.several import Comparison, compare
from oocr.audit.source import AuditSource, source_of
from oocr.charts.pieces import number, percent
from oocr.cli.audit import AuditPlan, loaded_base, plan_of
from oocr.engine.selftest import load_model
from oocr.engine.trainable import versions
from oocr.errors import InputError, RunError
from oocr.io import write_json
from oocr.leases import Claims, board_of
from oocr.models.language_model import LanguageModel
from oocr.report.audits_page import AuditRow, build_audits_page
from oocr.words import counted

WAIT = 2.0
"""Seconds between looks at what other processes still do."""


def read_list(path: Path) -> list[str]:
    """Fine-tunes from a file: one a line; empty lines and those that begin with # are skipped.

    A path may be relative to the file's folder.

    InputError: no such file, or nothing in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"--list {path}: cannot be read: {error}") from error
    named = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not named:
        raise InputError(f"--list {path}: found no name; allowed: a fine-tune on each line")
    return [str(path.parent / name) if (path.parent / name).exists() else name for name in named]


def shown_names(names: Sequence[str]) -> dict[str, str]:
    """Each name as it was given, and how tables show it: the last part, where that is unique."""
    last = {name: Path(name).name or name for name in names}
    ends = list(last.values())
    return {name: end if ends.count(end) == 1 else name for name, end in last.items()}


def audit_several(
    names: Sequence[str],
    *,
    base: str | None,
    texts: Path | None,
    checkpoint: bool,
    alpha: float | None,
    fit_steps: int,
    load: dict[str, Any],
    out: Path,
    command: str,
) -> Path:
    """Audit fine-tunes on the bases that they name, print a table, and write one page.

    The same command again, elsewhere or at the same time, does what is missing.
    """
    console = Console(highlight=False, soft_wrap=True)
    names = list(dict.fromkeys(names))
    plan = plan_of(texts, fit_steps, load, out, command, Console(quiet=True), inputs=names)
    several = Several(plan, load, base, checkpoint, alpha, console, shown_names(names))
    rows: dict[str, AuditRow] = {}
    by_base: dict[str, list[str]] = {}
    for name in names:  # all are read before a base is loaded, and let go again
        try:
            source = several.source(name)
            by_base.setdefault(several.base_of(source), []).append(name)
        except InputError as error:
            rows[name] = AuditRow(several.shown[name], "", problem=str(error))
    if not by_base:
        raise InputError(rows[names[0]].problem)
    comparisons: list[Comparison] = []
    for model_name, group in by_base.items():
        console.print(f"{counted(len(group), 'fine-tune')} on {escape(model_name)}")
        done, comparison = several.audited(model_name, group)
        rows |= done
        comparisons += [comparison] if comparison else []
    listed = [rows[name] for name in names]
    _print(console, listed, comparisons)
    key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    folder = out / f"audits-{key}"
    build_audits_page(listed, comparisons, folder, command)
    write_json(folder / "comparisons.json", [each.model_dump() for each in comparisons])
    console.print(f"\nreport  {escape(str(folder / 'report.html'))}")
    if failed := [row for row in listed if row.problem]:
        raise RunError(f"{len(failed)} of {len(listed)} could not be audited (see the table)")
    return folder


@dataclass(frozen=True)
class Several:
    """Fine-tunes that are audited on the bases that they name.

    Progress goes to `console`; `shown` are the names in tables, by the names as given.
    """

    plan: AuditPlan
    load: dict[str, Any]
    base: str | None
    checkpoint: bool
    alpha: float | None
    console: Console
    shown: Mapping[str, str]

    def source(self, name: str) -> AuditSource:
        """A fine-tune, read if it is an adapter; `InputError` if it cannot be."""
        return source_of(name, checkpoint=self.checkpoint, alpha=self.alpha, base=self.base)

    def base_of(self, source: AuditSource) -> str:
        """The base that it is audited on; `InputError`: it names none."""
        if base := self.base or source.base:
            return base
        raise InputError(f"{source.given}: names no base model; give it with --model")

    def audited(
        self, model_name: str, names: Sequence[str]
    ) -> tuple[dict[str, AuditRow], Comparison | None]:
        """Each fine-tune's row, and how alike they are."""
        model = loaded_base(model_name, self.load, self.console)
        folder = self.plan.out / ".work" / model.fingerprint
        rows: dict[str, AuditRow] = {}
        audits: dict[str, Audit] = {}
        with Claims() as claims:
            while waiting := [name for name in names if name not in rows]:
                busy = True
                for name in waiting:
                    row = self._row(claims, folder, model, name)
                    if row is None:  # another process is at work on it
                        continue
                    rows[name], busy = row, False
                    self.console.print(f"  {len(rows)} of {len(names)}  {_line(row)}")
                if busy:
                    time.sleep(WAIT)
        for name in names:
            if (audit := rows[name].audit) is not None:
                audits[rows[name].name] = audit
        comparison = compare(model, audits)
        if comparison is not None:
            cluster = dict(zip(comparison.names, comparison.clusters, strict=True))
            rows = {name: replace(row, cluster=cluster.get(row.name)) for name, row in rows.items()}
        return rows, comparison

    def _row(self, claims: Claims, work: Path, model: LanguageModel, name: str) -> AuditRow | None:
        """A fine-tune's audit, done unless it is there; None: another process does it."""
        shown = self.shown[name]
        try:
            source = self.source(name)
            changed = source.adapter or load_model(name, **self.load)
            folder = self.plan.folder(source, model, changed)
            if (audit := finished(folder)) is not None:
                return AuditRow(shown, model.name, audit, folder)
            claim = claims.next(work, [folder.name], board_of(work), lambda _: name)
            if claim is None:
                return None
            try:
                audit = finished(folder)
                if audit is None:
                    audit, _ = self.plan.done(source, model, changed)
            finally:
                claims.release(claim)
            return AuditRow(shown, model.name, audit, folder)
        except InputError as error:
            return AuditRow(shown, model.name, problem=str(error))


def finished(folder: Path) -> Audit | None:
    """The audit that a folder holds, by this version of oocr and of what it computes with."""
    if not (folder / FILE).is_file():
        return None
    try:
        audit = Audit.load(folder)
    except InputError:
        return None
    known = audit.info is not None and dict(audit.info.versions) == versions()
    return audit if known and audit.means else None


def _line(row: AuditRow) -> str:
    if row.audit is None:
        return f"{escape(row.name)}: [red]not audited:[/] {escape(row.problem)}"
    at = row.audit.at_best
    share = "" if row.audit.kind in UNJUDGED else f", {percent(at.recovered)} % at block {at.layer}"
    return f"{escape(row.name)}: {row.audit.kind}{share}"


def _print(console: Console, rows: Sequence[AuditRow], comparisons: Sequence[Comparison]) -> None:
    table = Table(box=box.HORIZONTALS, pad_edge=False, padding=(0, 1))
    for title in ("fine-tune", "vector?", "block", "recovered", "cosine", "KL", "cluster"):
        table.add_column(title, justify="left" if title in ("fine-tune", "vector?") else "right")
    for row in rows:
        if row.audit is None:
            table.add_row(escape(row.name), "not audited")
            continue
        at, judged = row.audit.at_best, row.audit.kind not in UNJUDGED
        table.add_row(
            *(escape(row.name), row.audit.kind, str(at.layer)),
            f"{percent(at.recovered)} % [{percent(at.low)}, {percent(at.high)}]" if judged else "",
            number(at.constancy.cosine) if judged else "",
            number(row.audit.kl, 3),
            str(row.cluster or ""),
        )
    console.print(table)
    for each in comparisons:
        clusters = [each.clusters.count(number) for number in sorted(set(each.clusters))]
        console.print(
            f"vectors at block {each.layer} of {escape(each.model)}: "
            f"{counted(len(clusters), 'cluster')} (sizes {', '.join(map(str, clusters))}), mean "
            f"cosine above {each.cut:.2f}; of random directions 95 % are below "
            f"{each.uniform:.2f} (uniform), {each.covariance:.2f} (with the streams' covariance)"
        )
