"""`train.compile`: torch.compile, and a plain message where it cannot work here."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from multigen.errors import TrainingError

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled at its first call. TrainingError there if there is no compiler that serves."""
    from torch._dynamo.exc import BackendCompilerFailed, TorchDynamoException

    fast = torch.compile(function)

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fast(*args, **kwargs)
        except (BackendCompilerFailed, TorchDynamoException) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise TrainingError(
                f"train.compile: the network cannot be compiled here ({reason}). The CPU needs a C++ compiler, CUDA "
                "needs triton. Train with train.compile=false."
            ) from error

    return call
