"""Two pretend GPUs in every process that is started with this folder on PYTHONPATH."""

from __future__ import annotations

import torch
from tests.devices import pretend

pretend.setup()
torch.cuda.device_count = lambda: 2
torch.cuda.is_available = lambda: True
