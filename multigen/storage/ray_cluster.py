"""Ray: the cluster of $RAY_ADDRESS, or one on this machine."""

from __future__ import annotations

import os
from typing import Any

from multigen.storage.packages import check_installed

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it when a cluster is started


def ray_here(what: str = "--ray") -> Any:
    """Ray, connected to the cluster of $RAY_ADDRESS; without one, a cluster is started on this machine.

    It tells nobody of its use. MultigenError, with `what` in front, if Ray is missing.
    """
    check_installed("ray", what, "ray")
    import ray

    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        ray.init(
            address=address or "local", include_dashboard=None if address else False, logging_level="WARNING"
        )
    return ray
