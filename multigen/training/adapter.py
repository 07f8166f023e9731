"""LoRA training: small matrices learned beside the frozen layers of a base model, with peft."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen.core.backbone import Backbone
from multigen.core.noise import stream
from multigen.errors import MultigenError, RecipeError, message
from multigen.recipe.schema import Recipe
from multigen.storage.lora import Adapter, Pair, prefixes
from multigen.storage.packages import install

_NAME = "default"  # what peft calls an adapter
_GROUPS = ("attention", "linears", "convolutions")


class Lora:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685, eq. 3): learns A and B beside a frozen weight W,

        W x + (alpha / rank) B A x

    rank     inner width of A and B; a higher rank is more expressive and takes more memory
    alpha    strength of the change, divided by the rank
    targets  layers to adapt: `attention` (linear layers in attention), `linears`, `convolutions` (all of them), or
             endings of layer names, such as `query` and `attn2.to_k`
    """

    def __init__(
        self, *, rank: int = 8, alpha: float = 8.0, targets: tuple[str, ...] = ("attention",)
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank: {rank} is not allowed. Allowed: a whole number, at least 1.")
        if not alpha > 0:
            raise ValueError(f"alpha: {alpha} is not allowed. Allowed: a number above 0.")
        if not targets:
            raise ValueError(
                f"targets: [] is not allowed. Allowed: {', '.join(_GROUPS)}, or endings of layer names."
            )
        self.rank, self.alpha, self.targets = rank, alpha, targets

    def layers(self, backbone: Backbone) -> list[str]:
        """List the names of the layers that the targets select. RecipeError for a target that selects none."""
        known = {n: m for n, m in backbone.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
        attention = tuple(f"{name}." for name in backbone.attention_modules())
        groups = {
            "attention": [
                n for n, m in known.items() if isinstance(m, nn.Linear) and n.startswith(attention)
            ],
            "linears": [n for n, m in known.items() if isinstance(m, nn.Linear)],
            "convolutions": [n for n, m in known.items() if isinstance(m, nn.Conv2d)],
        }
        found: set[str] = set()
        for target in self.targets:
            names = groups.get(target)
            if names is None:
                names = [n for n in known if f".{n}".endswith(f".{target}")]
            if not names:
                endings = dict.fromkeys(n.rpartition(".")[2] for n in known)
                allowed = [*(g for g, of in groups.items() if of), *(e for e in endings if not e.isdigit())]
                raise RecipeError(message("train.adapter.targets", target, allowed))
            found.update(names)
        return [n for n in known if n in found]

    @staticmethod
    def check_installed() -> None:
        """Raise RecipeError if peft is not installed."""
        if importlib.util.find_spec("peft") is None:
            raise RecipeError(f"train.adapter: training a LoRA needs the package peft: {install('lora')}")

    def inject(self, backbone: Backbone, seed: int) -> None:
        """Insert A (random, keyed by the seed) and B (zero) beside the layers. Only A and B are trained.

        The weights of the layers, and at first their output, stay the same.
        """
        self.check_installed()
        peft = _peft()
        names = "|".join(map(re.escape, self.layers(backbone)))
        config = peft.LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=f"(?:{names})")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, "lora").initial_seed())
            peft.inject_adapter_in_model(config, backbone)

    def learned(self, tensors: Mapping[str, Tensor], backbone: Backbone | type[Backbone]) -> dict[str, Pair]:
        """Collect the pairs of a checkpoint's tensors, by the names that the layers have in files."""
        outside, inside = prefixes(backbone)
        found: dict[str, Pair] = {}
        ending = f".lora_A.{_NAME}.weight"
        for key, down in tensors.items():
            if key.endswith(ending):
                layer = key.removesuffix(ending)
                up = tensors[f"{layer}.lora_B.{_NAME}.weight"]
                found[outside + layer.removeprefix(inside)] = Pair(down, up, self.alpha / self.rank)
        if not found:
            raise MultigenError("the checkpoint contains no LoRA")
        return found

    def adapter(
        self,
        tensors: Mapping[str, Tensor],
        backbone: Backbone | type[Backbone],
        recipe: Recipe,
        base: str | None,
    ) -> Adapter:
        """Build the adapter that a file stores.

        tensors    learned tensors of a checkpoint
        backbone   the backbone, or its class
        base       hash of the weights beside which it was trained
        """
        about = {
            "base": base_name(recipe),
            "base_hash": base,
            "rank": self.rank,
            "alpha": self.alpha,
            "targets": list(self.targets),
            "recipe": recipe.name,
        }
        return Adapter(self.learned(tensors, backbone), about, recipe.name)


def base_name(recipe: Recipe) -> str:
    """Return the name of an adapter's base for files: the last part of its path, so that no local path is written."""
    source = recipe.train.init
    if source is None and recipe.trains == "denoiser":
        source = recipe.network.args.get("path")
    return Path(str(source)).name


def _peft() -> Any:
    """Import peft. It imports transformers, which imports torchaudio (see `torchaudio_shim`)."""
    from multigen.storage.torchaudio_shim import import_torchaudio

    with suppress(ModuleNotFoundError):  # transformers does not need it
        import_torchaudio()
    return importlib.import_module("peft")
