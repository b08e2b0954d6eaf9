"""Which of the known formats a file has, told by its ending and its header or keys."""

from __future__ import annotations

from oocr.data.foreign import city_csv, risk_csv
from oocr.data.foreign.table import header_of

RISK = "risk questions (CSV)"
CITY_TEMPLATES = "city question templates (CSV)"
CITY_QUESTIONS = "city questions (CSV)"
OWN_CSV = "CSV"


def csv_format(text: str) -> str:
    """The format of a CSV; a header that half fits counts, so that its faults are named."""
    header = {name.lower() for name in header_of(text)}
    if {name.lower() for name in risk_csv.COLUMNS[2:]} & header:
        return RISK
    if city_csv.TEMPLATE in header:
        return CITY_TEMPLATES
    if city_csv.COLUMNS[-1] in header:
        return CITY_QUESTIONS
    return OWN_CSV
