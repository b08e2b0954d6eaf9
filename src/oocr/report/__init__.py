"""Self-contained HTML pages of runs, of the paper's claims and of audits; tables for a terminal."""
