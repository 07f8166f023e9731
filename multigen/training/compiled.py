"""torch.compile for `train.compile` and `sample.compile`, with a clear message where it cannot work."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from multigen.errors import TrainingError

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R], key: str = "train.compile") -> Callable[P, R]:
    """Return the function, compiled at its first call, which raises TrainingError if there is no working compiler.

    `key` is the recipe's key that asked for it.
    """
    from torch._dynamo.exc import BackendCompilerFailed, TorchDynamoException

    fast = torch.compile(function)

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fast(*args, **kwargs)
        except (BackendCompilerFailed, TorchDynamoException) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise TrainingError(
                f"{key}: the network cannot be compiled here ({reason}). A CPU needs a C++ compiler, CUDA "
                f"needs triton. Or set {key}=false."
            ) from error

    return call
