"""From analyses to verdicts on the paper's claims."""

from __future__ import annotations

from oocr.reproduce.paper_claim import PaperClaim
from oocr.reproduce.plan import Part
from oocr.reproduce.records import Analysis, Finding, Judged
from oocr.stats import FEWEST

NOT_MEASURED = "this task does not measure it"


def judge(claim: PaperClaim, analysis: Analysis, part: Part, command: str) -> Judged:
    """One claim on one subject; without its number it cannot be tested, and `why` says why."""
    found = analysis.of(claim.finding)
    verdict = "cannot be tested"
    why = ""
    if found is None:
        why = analysis.missing or NOT_MEASURED
    elif found.units is not None and found.units < FEWEST:
        why = f"measured on {found.found.n}: no interval of fewer than {FEWEST} can judge"
    else:
        every = {one.id: one for one in analysis.findings}
        verdict = claim.rule.judge(found, every)
        why = claim.rule.why(found, every) if verdict == "cannot be tested" else ""
    return Judged.model_validate(
        {
            "id": claim.id,
            "place": claim.place,
            "says": claim.says,
            "paper": claim.paper,
            "subject": part.kind,
            "about": part.about,
            "model": analysis.model,
            "measure": "" if found is None else found.measure,
            "found": None if found is None else found.found,
            "base": None if found is None else found.base,
            "nulls": () if found is None else found.nulls,
            "ceiling": None if found is None else found.ceiling,
            "verdict": verdict,
            "why": why,
            "rule": _words(claim, found),
            "command": command,
            "analysis": claim.analysis,
        }
    )


def _words(claim: PaperClaim, found: Finding | None) -> str:
    """The rule in words, the run's own included."""
    if found is None or not found.rule:
        return claim.rule.words
    return f"{claim.rule.words}: {found.rule}"
