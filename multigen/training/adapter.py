"""LoRA training: small matrices learned beside the frozen layers of a base model, through peft."""

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

from multigen.core.noise import stream
from multigen.errors import MultigenError, RecipeError, message
from multigen.recipe.schema import Recipe
from multigen.storage.lora import Adapter, Pair, begins
from multigen.storage.packages import install

_NAME = "default"  # what peft calls an adapter
_GROUPS = ("attention", "linears", "convolutions")


class Lora:
    """W x + alpha / rank B A x in place of W x, with A and B learned (Hu et al. 2021, arXiv:2106.09685, eq. 3).

    rank     inner width of A and B; more can say more, and takes more
    alpha    strength of the change, over rank
    targets  which layers: `attention` (its linear layers), `linears`, `convolutions` (all there are), or how their
             names end, as `query` and `attn2.to_k`
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
                f"targets: [] is not allowed. Allowed: {', '.join(_GROUPS)}, or how layers' names end."
            )
        self.rank, self.alpha, self.targets = rank, alpha, targets

    def layers(self, backbone: nn.Module) -> list[str]:
        """Names of the layers that the targets mean; RecipeError for a target that means none."""
        known = {n: m for n, m in backbone.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
        attention = tuple(
            f"{n}." for n, m in backbone.named_modules() if type(m).__name__.endswith("Attention")
        )
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
        """RecipeError without peft, which is an extra."""
        if importlib.util.find_spec("peft") is None:
            raise RecipeError(f"train.adapter: training a LoRA needs the package peft: {install('lora')}")

    def inject(self, backbone: nn.Module, seed: int) -> None:
        """Put A (random, keyed by the seed) and B (zero: nothing changes yet) beside the layers. A and B alone learn.

        The layers stay where they are; what was loaded before stays as it was.
        """
        self.check_installed()
        peft = _peft()
        names = "|".join(map(re.escape, self.layers(backbone)))
        config = peft.LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=f"(?:{names})")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, "lora").initial_seed())
            peft.inject_adapter_in_model(config, backbone)

    def learned(self, tensors: Mapping[str, Tensor], backbone: object) -> dict[str, Pair]:
        """Pairs by the layers' names in files, of the learned tensors as a checkpoint has them."""
        outside, inside = begins(backbone)
        found: dict[str, Pair] = {}
        ending = f".lora_A.{_NAME}.weight"
        for key, down in tensors.items():
            if key.endswith(ending):
                layer = key.removesuffix(ending)
                up = tensors[f"{layer}.lora_B.{_NAME}.weight"]
                found[outside + layer.removeprefix(inside)] = Pair(down, up, self.alpha / self.rank)
        if not found:
            raise MultigenError("the checkpoint holds no LoRA")
        return found

    def adapter(
        self, tensors: Mapping[str, Tensor], backbone: object, recipe: Recipe, base: str | None
    ) -> Adapter:
        """What a training has learned, as a file holds it.

        `backbone`: it or its class; `base`: the hash of the weights beside which it learned.
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
    """How files call the base of a recipe's adapter: the last part of what it starts from, no path of this machine."""
    source = recipe.train.init
    if source is None and recipe.trains == "denoiser":
        source = recipe.network.args.get("path")
    return Path(str(source)).name


def _peft() -> Any:
    """peft, whose import of transformers imports torchaudio (see `torchaudio_shim`)."""
    from multigen.storage.torchaudio_shim import import_torchaudio

    with suppress(ModuleNotFoundError):  # not installed: transformers does without
        import_torchaudio()
    return importlib.import_module("peft")
