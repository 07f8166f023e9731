"""ONNX: the denoiser as a graph that any runtime runs, all axes dynamic.

    x0 = D(x, alpha, sigma, c_noise, condition)

Inputs are `x` [B, C, *D], `alpha`, `sigma` and `c_noise` [B], and those of `vector` [B, K], `tokens` [B, L, K] with
`mask` [B, L] (bool), `grid` [B, K, *D] and the extra values [B, ...] that the network takes; the output is `x0`. All
are fp32. The metadata hold what a sampler needs beside them, as JSON:

    grid        the recipe's times, each as [alpha, sigma, c_noise]
    conditions  prompt -> input -> {shape, data: base64 of the numbers}, for the prompts of the recipe and for ""
    shape       [C, *D] of a medium in model space
    recipe      the recipe, as YAML
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser, rows
from multigen.errors import MultigenError, reason
from multigen.generation.grid import grid as grid_of
from multigen.model.compatibility import cond_spec, with_channels
from multigen.model.export.exportable import Exportable
from multigen.model.model import Model
from multigen.model.targets import ONNX, ONNX_PACKAGES
from multigen.recipe.dump import to_yaml
from multigen.recipe.paths import public
from multigen.storage.files import atomic
from multigen.storage.packages import check_installed

log = logging.getLogger(__name__)

OPSET = 18
TOLERANCE = 1e-4  # of the network's answer, relative to its largest value where that is above 1
_LARGEST = 2_000_000_000  # bytes of weights: more does not fit one protobuf file
_PARTS = ("vector", "tokens", "mask", "grid")
_LEVELS = ("alpha", "sigma", "c_noise")


class _Graph(nn.Module):
    """The denoiser as a function of tensors."""

    def __init__(self, denoiser: Denoiser, parts: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self.prediction, self.parts = denoiser.backbone, denoiser.prediction, tuple(parts)

    def forward(self, x: Tensor, alpha: Tensor, sigma: Tensor, c_noise: Tensor, *parts: Tensor) -> Tensor:
        """x [B, C, *D], alpha, sigma and c_noise [B], and the parts of the condition -> x0."""
        given = dict(zip(self.parts, parts, strict=True))
        extra = {name: part for name, part in given.items() if name not in _PARTS}
        cond = Cond(**{name: part for name, part in given.items() if name in _PARTS}, extra=extra)
        c_in, c_skip, c_out = self.prediction.coefficients(alpha, sigma)
        return rows(c_skip, x) * x + rows(c_out, x) * self.backbone(rows(c_in, x) * x, c_noise, cond)


def write_onnx(model: Model, path: Path) -> Path:
    """Export the denoiser, and check it with onnxruntime at several shapes.

    MultigenError if a package is missing, the network is too large for one file, cannot be traced, or answers
    otherwise than here.
    """
    for package in ONNX_PACKAGES:
        check_installed(package, f"export --to {ONNX}", "onnx")
    if (model.cascade is not None and not model.cascade.width) or any(
        one.leads for one in model.recipe.adapters
    ):
        raise MultigenError(
            f"{model.recipe.name}: a network that is told embeddings or pictures is not exported to ONNX"
        )
    size = 4 * sum(p.numel() for p in model.denoiser.backbone.parameters())
    if size > _LARGEST:
        raise MultigenError(
            f"{model.recipe.name}: its network has {size / 1e9:.1f} GB of weights; an ONNX file holds 2 GB"
        )
    with atomic(path) as temporary:
        _trace(model, temporary)
        _describe(model, temporary)
        worst = _check(model, temporary)
    log.info("%s: equal to this network to %.1e, at several sizes", path, worst)
    return path


# --- the graph ---------------------------------------------------------------------------------------------------


def _inputs(model: Model, batch: int, size: Sequence[int], length: int, seed: int) -> dict[str, Tensor]:
    """Random inputs of a size [*D] in model space, by name."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    channels = model.codec.shape(model.modality.shape())[0]
    spec = cond_spec(model.recipe, model.conditioner.spec, model.codec, channels, model.cascade)
    ts = torch.linspace(0.3, 0.7, batch, dtype=torch.float64)
    found = {"x": normal(batch, channels, *size), **_levels(model.denoiser, ts)}
    if spec.vector:
        found["vector"] = normal(batch, spec.vector)
    if spec.tokens:
        found["tokens"] = normal(batch, length, spec.tokens)
        found["mask"] = torch.arange(length) < torch.arange(length, length - batch, -1).clamp(1)[:, None]
    if spec.grid:
        found["grid"] = normal(batch, spec.grid, *size)
    with torch.no_grad():
        extra = model.conditioner.null(1).expand(batch).extra
    return found | {name: values.clone() for name, values in extra.items()}


def _parts(given: Mapping[str, Tensor]) -> list[str]:
    """Which inputs are parts of the condition."""
    return [name for name in given if name not in ("x", *_LEVELS)]


def _levels(denoiser: Denoiser, ts: Tensor) -> dict[str, Tensor]:
    """alpha, sigma and c_noise at times [B], fp32 [B] each."""
    alpha, sigma = denoiser.schedule(ts)
    values = (alpha, sigma, denoiser.c_noise(ts))
    return {name: value.float() for name, value in zip(_LEVELS, values, strict=True)}


def _trace(model: Model, path: Path) -> None:
    """Write the graph. What depends on a size, padding, has to happen while it is traced: so an odd one."""
    natural = model.codec.shape(model.modality.shape())[1:]
    given = _inputs(model, 2, [n | 1 for n in natural], 3, seed=0)
    graph = _Graph(model.denoiser, _parts(given)).eval()
    if _answer(graph, given) is None:
        given = _inputs(model, 2, natural, 3, seed=0)
    axes = {name: _axes(name, tensor) for name, tensor in given.items()} | {"x0": _axes("x", given["x"])}
    try:
        with _quiet(), torch.no_grad(), Exportable():
            torch.onnx.export(
                graph, tuple(given.values()), str(path), input_names=list(given), output_names=["x0"],
                dynamic_axes=axes, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
    except Exception as error:  # whatever a tracer finds in a network that others wrote
        raise MultigenError(
            f"{model.recipe.name}: its network cannot be exported to ONNX ({reason(error)})"
        ) from error


def _axes(name: str, tensor: Tensor) -> dict[int, str]:
    """The dynamic axes of an input: its batch, the tokens, and the places of a sample."""
    if name in ("x", "grid"):
        return {0: "batch", **{k: f"size{k - 2}" for k in range(2, tensor.ndim)}}
    return {0: "batch", 1: "length"} if name in ("tokens", "mask") else {0: "batch"}


def _answer(graph: _Graph, given: Mapping[str, Tensor]) -> Tensor | None:
    """What the network answers; None for a size that it does not take."""
    try:
        with torch.no_grad():
            return graph(*given.values())
    except (RuntimeError, ValueError):
        return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the tracer warns of at every size that it meets, and the graph that it prints where it fails."""
    sys.stdout.flush()
    kept = os.dup(1)  # it prints past Python
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
            warnings.simplefilter("ignore")
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


# --- its metadata ------------------------------------------------------------------------------------------------


def _describe(model: Model, path: Path) -> None:
    onnx = importlib.import_module("onnx")
    shape = model.codec.shape(model.modality.shape())
    ts = grid_of(model, model.recipe.timesteps, model.recipe.sample.steps, math.prod(shape[1:]))
    levels = torch.stack(list(_levels(model.denoiser, ts).values()), dim=1)
    facts = {
        "grid": json.dumps(levels.tolist()),
        "conditions": json.dumps(_conditions(model)),
        "shape": json.dumps(shape),
        "recipe": to_yaml(public(model.recipe)),
    }
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, facts)
    onnx.save(graph, str(path))


def _conditions(model: Model) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    with torch.no_grad():
        for prompt in dict.fromkeys(model.recipe.sample.prompts):
            found[prompt] = _plain(_whole(model, model.encode(prompt)))
        found[""] = _plain(_whole(model, model.conditioner.null(1)))
    return found


def _whole(model: Model, cond: Cond) -> Cond:
    """A condition with zeros in the channels that it says nothing in."""
    shape = model.codec.shape(model.modality.shape())
    return with_channels(
        model.recipe, model.conditioner.spec, model.codec, cond.to("cpu"), shape, model.cascade
    )


def _plain(cond: Cond) -> dict[str, Any]:
    own = {"vector": cond.vector, "tokens": cond.tokens, "mask": cond.mask, "grid": cond.grid}
    parts = {**own, **cond.extra}
    return {
        name: {
            "shape": list(part.shape),
            "data": base64.b64encode(np.ascontiguousarray(part.cpu().numpy()).tobytes()).decode(),
        }
        for name, part in parts.items()
        if part is not None
    }


# --- its check ---------------------------------------------------------------------------------------------------


def _check(model: Model, path: Path) -> float:
    """The largest difference from this network, relative to its answer. MultigenError above `TOLERANCE`."""
    session = _session(model, path)
    taken = {one.name for one in session.get_inputs()}  # those that the network has a use for
    natural = model.codec.shape(model.modality.shape())[1:]
    worst = 0.0
    for number, (batch, size, length) in enumerate(_shapes(natural)):
        given = _inputs(model, batch, size, length, seed=1 + number)
        graph = _Graph(model.denoiser, _parts(given)).eval()
        wanted = _answer(graph, given)
        if wanted is None:
            continue
        try:
            arrays = {name: tensor.numpy() for name, tensor in given.items() if name in taken}
            (found,) = session.run(["x0"], arrays)
        except Exception as error:
            raise MultigenError(
                f"{model.recipe.name}: its graph does not run at {list(size)} ({reason(error)})"
            ) from error
        gap = float((torch.from_numpy(found) - wanted).abs().max() / wanted.abs().max().clamp_min(1))
        worst = max(worst, gap)
        if not gap <= TOLERANCE:
            raise MultigenError(
                f"{model.recipe.name}: its graph differs by {gap:.1e} at {list(size)}; nothing is written"
            )
    return worst


def _session(model: Model, path: Path) -> Any:
    """onnxruntime with the graph. MultigenError for one that it cannot open."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever it finds in what the tracer wrote
        raise MultigenError(
            f"{model.recipe.name}: its network cannot be exported to ONNX ({reason(error)})"
        ) from error


def _shapes(natural: Sequence[int]) -> list[tuple[int, list[int], int]]:
    """Batch, size in model space, and number of tokens: its own size, larger and odd ones."""
    wide = [*natural[:-1], 2 * natural[-1]]
    odd = [n + 3 for n in natural]
    return [(2, list(natural), 5), (1, wide, 1), (3, odd, 7), (2, [n + 4 for n in natural], 3)]
