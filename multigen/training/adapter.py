"""LoRA training: small matrices learned beside the frozen layers of a base model and its text encoders, with peft."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen.conditioners import Conditioner
from multigen.core.backbone import Backbone
from multigen.core.noise import stream
from multigen.errors import MultigenError, RecipeError, message
from multigen.recipe.dump import to_data
from multigen.recipe.students import SAMPLING, sampling
from multigen.storage import lora
from multigen.storage.lora import Adapter, Pair
from multigen.storage.packages import install
from multigen.training.adapting import Adaptation, Learned, Made, base_name, refused

_NAME = "default"  # what peft calls an adapter
_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")  # layers of CLIP's attention
_GROUPS = ("attention", "linears", "convolutions")


class Lora(Adaptation):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685, eq. 3): learns A and B beside a frozen weight W,

        W x + (alpha / rank) B A x

    rank     inner width of A and B; a higher rank is more expressive and takes more memory
    alpha    strength of the change, divided by the rank
    targets  layers to adapt: `attention` (linear layers in attention), `linears`, `convolutions` (all of them), or
             endings of layer names, such as `query` and `attn2.to_k`
    text     also adapt attention in the text encoders, of a pipeline with CLIP
    """

    place = lora.FILE

    def __init__(
        self,
        *,
        rank: int = 8,
        alpha: float = 8.0,
        targets: tuple[str, ...] = ("attention",),
        text: bool = False,
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank: {rank} is not allowed. Allowed: a whole number, at least 1.")
        if not alpha > 0:
            raise ValueError(f"alpha: {alpha} is not allowed. Allowed: a number above 0.")
        if not targets:
            raise ValueError(
                f"targets: [] is not allowed. Allowed: {', '.join(_GROUPS)}, or endings of layer names."
            )
        self.rank, self.alpha, self.targets, self.text = rank, alpha, targets, text

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

    def check_installed(self) -> None:
        """Raise RecipeError if peft is not installed."""
        if importlib.util.find_spec("peft") is None:
            raise RecipeError(f"train.adapter: training a LoRA needs the package peft: {install('lora')}")

    def check(self, backbone: Backbone, conditioner: Conditioner) -> None:
        """Raise RecipeError for targets that select no layer, and where there is no text encoder to adapt."""
        self.layers(backbone)
        if self.text and not any(host.learns for host in conditioner.hosts()):
            raise refused(
                ".text", "true is not allowed: this model has no CLIP text encoder. Allowed: false."
            )

    def inject(self, backbone: Backbone, conditioner: Conditioner, seed: int) -> None:
        """Insert A (random, keyed by the seed) and B (zero) beside the layers. Only A and B are trained.

        The weights of the layers, and at first their output, stay the same.
        """
        self.check_installed()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, "lora").initial_seed())
            self._insert(backbone, self.layers(backbone))
            for host in conditioner.unfreeze() if self.text else ():
                network = host.load()
                self._insert(network, [n for n, _ in network.named_modules() if n.endswith(_ATTENTION)])

    def _insert(self, network: nn.Module, layers: Sequence[str]) -> None:
        peft = _peft()
        names = "|".join(map(re.escape, layers))
        config = peft.LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=f"(?:{names})")
        peft.inject_adapter_in_model(config, network)
        for parameter in network.parameters():
            if parameter.requires_grad:  # what learns is fp32, in whatever the weights beside it are held
                parameter.data = parameter.data.float()

    def made(self, learned: Learned) -> Made:
        """Return the LoRA of a checkpoint."""
        return Made(adapter=self.adapter(learned))

    def read(self, folder: Path) -> Made:
        """Return the LoRA of a run folder."""
        return Made(adapter=lora.read(folder / self.place))

    def write(self, folder: Path, learned: Learned, backbone: Backbone) -> None:
        """Write the file that diffusers reads."""
        lora.write(folder / self.place, self.adapter(learned))

    def learned(self, tensors: Mapping[str, Tensor], published: tuple[str, str]) -> dict[str, Pair]:
        """Collect the pairs of a checkpoint's tensors, by the names that the layers have in files."""
        found: dict[str, Pair] = {}
        ending = f".lora_A.{_NAME}.weight"
        for key, down in tensors.items():
            if key.endswith(ending):
                layer = key.removesuffix(ending)
                up = tensors[f"{layer}.lora_B.{_NAME}.weight"]
                found[_in_files(layer, published)] = Pair(down, up, self.alpha / self.rank)
        if not found:
            raise MultigenError("the checkpoint contains no LoRA")
        return found

    def adapter(self, learned: Learned) -> Adapter:
        """Build the adapter that a file stores."""
        about = {
            "base": base_name(learned.recipe),
            "base_hash": learned.base,
            "rank": self.rank,
            "alpha": self.alpha,
            "targets": list(self.targets),
            "recipe": learned.recipe.name,
        }
        if learned.recipe.train.distill is not None:  # a student samples in its own way
            about[SAMPLING] = sampling(to_data(learned.recipe))
        return Adapter(self.learned(learned.tensors, learned.published), about, learned.recipe.name)


def _in_files(layer: str, published: tuple[str, str]) -> str:
    """A layer's name in files; those of CLIP begin as diffusers writes them, whatever transformers calls them."""
    outside, inside = published
    if layer.startswith("backbone."):
        return outside + layer.removeprefix(f"backbone.{inside}")
    encoder, _, name = layer.removeprefix("conditioner.").partition(".")
    return f"{encoder}.text_model.{name.removeprefix('text_model.')}"


def _peft() -> Any:
    """Import peft. It imports transformers, which imports torchaudio (see `torchaudio_shim`)."""
    from multigen.storage.torchaudio_shim import import_torchaudio

    with suppress(ModuleNotFoundError):  # transformers does not need it
        import_torchaudio()
    return importlib.import_module("peft")
