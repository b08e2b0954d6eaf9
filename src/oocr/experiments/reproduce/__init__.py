"""The paper's claims in order, each judged on finished runs."""
