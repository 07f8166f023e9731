"""The thread in which networks run, and how many cores which thread computes with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch


def network_thread() -> ThreadPoolExecutor:
    """A thread that computes with all cores. Every other thread of the process computes with one from now on.

    OpenMP gives each thread that computes in parallel threads of its own. Where there are more of these than cores,
    they sleep at each of a network's many barriers instead of waiting awake, and a call takes twice as long.
    """
    worker = ThreadPoolExecutor(1, thread_name_prefix="network")
    # A thread takes over the count that holds when it first asks for it, and keeps that.
    worker.submit(torch.get_num_threads).result()
    torch.set_num_threads(1)
    return worker
