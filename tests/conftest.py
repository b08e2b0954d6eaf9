"""One thread per test process: tiny models on two fighting threads are ten times slower."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
