"""Serve models on Ray Serve: what `multigen serve --ray` does."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy
from ray.serve.deployment import Application

from multigen.device import choose_device
from multigen.errors import MultigenError
from multigen.serving.cluster.replicas import FrontDeployment, ModelReplica
from multigen.serving.cluster.scaling import METRIC, Replicas, wanted
from multigen.serving.run import Options, root_of, shown_host
from multigen.serving.sources import check_reach, named
from multigen.storage.ray_cluster import ray_here

APP = "multigen"
FRONT = "front"  # the deployment that clients reach
_FRONT = 1000  # requests that one replica of the app in front has open


def serve_on_ray(
    sources: Sequence[str], options: Options | None = None, *, replicas: Replicas | None = None
) -> None:
    """Serve until a signal comes. MultigenError for what cannot be served, or not like that.

    Where $RAY_ADDRESS names a cluster, it is used; otherwise one is started on this machine. The store must be one that
    all its machines reach, and so must the sources.
    """
    o = options or Options()
    check_reach(o.host, o.keys)
    ray = ray_here("multigen serve --ray")
    address = os.environ.get("RAY_ADDRESS")
    ended = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: ended.set())
    try:
        port = o.port or _free_port(o.host)
        where = "HeadOnly" if address is None else "EveryNode"
        # A clip may take as long as it takes.
        http: dict[str, Any] = {"host": o.host, "port": port, "request_timeout_s": None}
        serve.start(proxy_location=where, http_options=http)
        serve.run(application(sources, o, replicas or Replicas()), name=APP, route_prefix="/")
        print(f"multigen: http://{shown_host(o.host)}:{port}{root_of(o.root_path)}", flush=True)
        ended.wait()
    finally:
        serve.shutdown()
        ray.shutdown()


def application(sources: Sequence[str], options: Options, replicas: Replicas) -> Application:
    """The app in front with a deployment for each model."""
    o = replace(options, shared=True)
    gpu = choose_device(o.device).type == "cuda"
    models = {}
    for name in named(sources):
        if name == FRONT:
            raise MultigenError(
                f"{name}: Ray Serve has a deployment of that name; call the model otherwise: ID=PATH"
            )
        one = serve.deployment(
            ModelReplica,
            name=name,
            # What is beyond a batch waits in the replica, where it has its place in line.
            max_ongoing_requests=o.max_batch + o.max_queue,
            max_queued_requests=o.max_queue * replicas.high,
            autoscaling_config=scaling(o.max_batch, replicas),
            ray_actor_options={"num_cpus": 1, "num_gpus": 1 if gpu else 0},
            graceful_shutdown_timeout_s=o.drain + 10,
            health_check_period_s=5,
            user_config={"load": True},
        )
        models[name] = one.bind(sources, o, name)
    front = serve.deployment(
        FrontDeployment,
        name=FRONT,
        max_ongoing_requests=_FRONT,
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": replicas.high,
            "target_ongoing_requests": _FRONT // 4,
        },
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=o.drain + 10,
    )
    return front.bind(sources, o, models)


def scaling(batch: int, replicas: Replicas) -> AutoscalingConfig:
    """Replicas by the media that wait and are under way."""
    return AutoscalingConfig(
        min_replicas=replicas.low,
        max_replicas=replicas.high,
        target_ongoing_requests=batch,
        upscale_delay_s=5,
        downscale_delay_s=300,
        metrics_interval_s=2,
        look_back_period_s=10,
        policy=AutoscalingPolicy(policy_function=by_media),
    )


def by_media(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """As many replicas as their media fill; bounds and delays are Ray's."""
    told = (context.aggregated_metrics or {}).get(METRIC, {})
    media = {str(replica): float(value) for replica, value in told.items()}
    batch = context.config.target_ongoing_requests
    return max(wanted(media, context.total_num_requests, batch), 1), {}


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as one:
        return one.getsockname()[1]
