"""Weights of linear layers in 8 bits, through torchao."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from multigen.backbones.streamed import Read
from multigen.storage.packages import check_installed

PACKAGE = "torchao"
SMALLEST = 32  # inputs of a layer, below which 8 bits save nothing


def to_int8(network: nn.Module, read: Read) -> nn.Module:
    """Hold the weights of linear layers as int8 with a scale for each output; the rest stays fp32.

    read  a weight of the network's files, in memory of its own, so that one layer alone is in memory twice

    MultigenError without torchao.
    """
    check_installed(PACKAGE, "backbone.dtype: int8", "int8")
    torchao: Any = importlib.import_module("torchao.quantization")
    how = torchao.Int8WeightOnlyConfig()
    with torch.no_grad():
        for start, module in network.named_modules():
            for name, weight in module.named_parameters(recurse=False):
                found = read(f"{start}.{name}" if start else name)  # so that the files' memory can go
                if found is not None:
                    weight.data = found.to(weight.dtype)
            if isinstance(module, nn.Linear) and module.in_features >= SMALLEST:
                torchao.quantize_(module, how)
    return network
