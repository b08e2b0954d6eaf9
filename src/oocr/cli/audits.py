"""`oocr audit` of several fine-tunes: each base is loaded once, finished audits are kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from oocr.audit.record import FILE, UNJUDGED, Audit
from oocr.audit.several import Comparison, compare
from oocr.audit.source import AuditSource, fine_tune_of, is_here
from oocr.charts.pieces import number, percent
from oocr.cli.audit import AuditOptions, AuditPlan, loaded_base, plan_of
from oocr.cli.cluster.place import SharedPlace
from oocr.cli.cluster.shared_work import SharedWork
from oocr.cli.options import Engine, shared_words
from oocr.engine.memory import PROCESS, shape_of
from oocr.engine.selftest import load_model
from oocr.engine.trainable import versions
from oocr.errors import InputError, RunError
from oocr.io import write_json
from oocr.leases import Claims, board_of
from oocr.models.language_model import LanguageModel
from oocr.models.outline import outline
from oocr.output_checks import check_output
from oocr.report.audits_page import AuditRow, build_audits_page
from oocr.stores import FolderStore, Store
from oocr.words import counted

AUDITING = 2**30
"""Bytes assumed for passes over the texts."""

WAIT = 2.0
"""Seconds between checks whether other processes have finished."""


def read_list(path: Path) -> list[str]:
    """Names of fine-tunes from a file, one per line; empty lines and lines with # are skipped.

    A path may be relative to the file's folder.

    InputError: no such file, or nothing in it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"--list {path}: cannot be read: {error}") from error
    named = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not named:
        raise InputError(f"--list {path}: found no name; allowed: a fine-tune on each line")
    return [str(path.parent / name) if (path.parent / name).exists() else name for name in named]


def distinct(names: Sequence[str]) -> list[str]:
    """Each fine-tune once, however its path is spelled."""
    places: dict[Path | str, str] = {}
    for name in names:
        path = Path(name).expanduser()
        places.setdefault(path.resolve() if path.exists() else name, name)
    return list(places.values())


def shown_names(names: Sequence[str]) -> dict[str, str]:
    """Name -> how tables show it: the shortest ending of the path that is unique."""
    parts = {name: Path(name).parts for name in names}  # the same for an id of the Hub
    shown = dict.fromkeys(names, "")
    for name, name_parts in parts.items():
        for count in range(1, len(name_parts) + 1):
            if sum(other[-count:] == name_parts[-count:] for other in parts.values()) == 1:
                shown[name] = str(Path(*name_parts[-count:]))
                break
    return {name: tail or name for name, tail in shown.items()}


@dataclass(frozen=True, slots=True)
class AuditResults:
    """Audited fine-tunes in their order, how alike those of a base are, and the page's folder."""

    rows: list[AuditRow]
    comparisons: list[Comparison]
    folder: Path


def audit_several(names: Sequence[str], options: AuditOptions) -> Path:
    """Audit fine-tunes (see `audit_all`), and print a table.

    RunError: not all of them could be audited.
    """
    results = audit_all(names, options)
    print_audits(results)
    return results.folder


def shared_audits(
    engine: Engine, names: Sequence[str], options: AuditOptions, words: Sequence[str]
) -> SharedWork[AuditResults]:
    """The same for processes of an engine; `words` are the arguments after the verb."""
    if len(distinct(names)) < 2:
        raise InputError(f"{engine.named}: found one fine-tune; allowed: two or more of them")
    check_output(options.out, folder=True)
    options = replace(options, out=options.out.resolve())
    return SharedWork(
        SharedPlace(options.out),
        shared_words(["audit"], words, options.out),
        partial(audit_all, names, options),
        print_audits,
        Several.of(names, options).most_memory,
    )


def audit_all(names: Sequence[str], options: AuditOptions) -> AuditResults:
    """Audit fine-tunes on the bases that they name, and write one page.

    The same call again, on another machine or at the same time, does what is missing.
    """
    several = Several.of(names, options)
    names = list(several.shown)
    by_base, rows = several.by_base()
    if not by_base:
        raise InputError(rows[names[0]].problem)
    comparisons: list[Comparison] = []
    for model_name, group in by_base.items():
        several.console.print(f"{counted(len(group), 'fine-tune')} on {escape(model_name)}")
        done, comparison = several.audited(model_name, group)
        rows |= done
        comparisons += [comparison] if comparison else []
    listed = [rows[name] for name in names]
    key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    folder = several.plan.out / f"audits-{key}"
    build_audits_page(listed, comparisons, folder, several.plan.command)
    write_json(folder / "comparisons.json", [each.model_dump() for each in comparisons])
    return AuditResults(listed, comparisons, folder)


@dataclass(frozen=True)
class Several:
    """Fine-tunes that are audited on the bases that they name.

    Progress goes to `console`; `shown`: name as given -> name in tables.
    """

    options: AuditOptions
    plan: AuditPlan
    console: Console
    shown: Mapping[str, str]

    @staticmethod
    def of(names: Sequence[str], options: AuditOptions) -> Several:
        """Each fine-tune once."""
        names = distinct(names)
        plan = plan_of(options, Console(quiet=True), inputs=names)
        console = Console(highlight=False, soft_wrap=True)
        return Several(options, plan, console, shown_names(names))

    def by_base(self) -> tuple[dict[str, list[str]], dict[str, AuditRow]]:
        """Base -> its fine-tunes, and table rows for those that cannot be audited.

        All adapters are read once before a base is loaded, and then released.
        """
        names: dict[str, list[str]] = {}
        rows: dict[str, AuditRow] = {}
        for name, shown in self.shown.items():
            try:
                names.setdefault(self.base_of(self.source(name)), []).append(name)
            except InputError as error:
                rows[name] = AuditRow(shown, "", problem=str(error))
        return names, rows

    def most_memory(self) -> int:
        """Bytes that a process needs for the largest base; twice that with whole fine-tunes."""
        models = [outline(name, **self.options.load, counted=False) for name in self.by_base()[0]]
        most = max((shape_of(model).weights for model in models), default=0)
        return PROCESS + AUDITING + (2 if self.options.checkpoint else 1) * most

    def source(self, name: str) -> AuditSource:
        """A fine-tune; adapters are read. `InputError`: it cannot be read."""
        asked = self.options
        return fine_tune_of(name, checkpoint=asked.checkpoint, alpha=asked.alpha, base=asked.base)

    def base_of(self, source: AuditSource) -> str:
        """The base of a fine-tune; `InputError`: the fine-tune names none."""
        if base := self.options.base or source.base:
            return base
        why = "" if is_here(source.given) else "is no file or folder here, and "
        raise InputError(f"{source.given}: {why}names no base model; give it with --model")

    def audited(
        self, model_name: str, names: Sequence[str]
    ) -> tuple[dict[str, AuditRow], Comparison | None]:
        """A table row for each fine-tune, and how similar their vectors are."""
        model = loaded_base(model_name, self.options.load, self.console)
        work = FolderStore(self.plan.out / ".work" / model.fingerprint)
        rows: dict[str, AuditRow] = {}
        audits: dict[str, Audit] = {}
        with Claims() as claims:
            while waiting := [name for name in names if name not in rows]:
                busy = True
                for name in waiting:
                    row = self._row(claims, work, model, name)
                    if row is None:  # another process computes it
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

    def _row(self, claims: Claims, work: Store, model: LanguageModel, name: str) -> AuditRow | None:
        """A fine-tune's audit, from its folder or computed; None: another process computes it."""
        shown = self.shown[name]
        try:
            source = self.source(name)
            changed = source.adapter or load_model(name, **self.options.load)
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
    """The finished audit of a folder; None: absent, or made with other versions."""
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


def print_audits(results: AuditResults) -> None:
    """Print a table of all audits, and the path of their page.

    RunError: not all of them could be audited.
    """
    console = Console(highlight=False, soft_wrap=True)
    rows, comparisons = results.rows, results.comparisons
    table = Table(box=box.HORIZONTALS, pad_edge=False, padding=(0, 1))
    for title in ("fine-tune", "vector?", "block", "recovered", "cosine", "KL", "cluster"):
        side: JustifyMethod = "left" if title in ("fine-tune", "vector?") else "right"
        table.add_column(title, justify=side, overflow="fold")
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
    console.print(f"\nreport  {escape(str(results.folder / 'report.html'))}")
    if failed := [row for row in rows if row.problem]:
        raise RunError(f"{len(failed)} of {len(rows)} could not be audited (see the table)")
