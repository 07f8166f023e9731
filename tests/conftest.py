"""What every test relies on."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Nothing downloads at run time, in tests least of all. Set before anything imports a hub client.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
# One thread for each test process: several pools on the same cores wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The keys that sign media in tests are not the user's. One folder serves all processes of a test run.
if "MULTIGEN_CONFIG" not in os.environ:
    os.environ["MULTIGEN_CONFIG"] = tempfile.mkdtemp(prefix="multigen-config-")
    atexit.register(shutil.rmtree, os.environ["MULTIGEN_CONFIG"], ignore_errors=True)
