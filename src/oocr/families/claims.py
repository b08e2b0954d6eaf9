"""Which claims a family's runs are asked."""

from __future__ import annotations

from oocr.claims.judge import ClaimRow
from oocr.claims.run_claims import COMMON
from oocr.families.risk_backdoor.claims import CLAIMS as RISK_BACKDOOR


def claims_of(family: str) -> tuple[ClaimRow, ...]:
    """The rows of a family's table of claims."""
    if family == "nano":
        from oocr_organisms.tasks.claims import CLAIMS

        return CLAIMS
    return RISK_BACKDOOR if family == "risk_backdoor" else COMMON
