"""What every test relies on."""

from __future__ import annotations

import os

# Nothing downloads at run time, in tests least of all. Set before anything imports a hub client.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
# One thread for each test process: several pools on the same cores wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
