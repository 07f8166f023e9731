"""IP-Adapters: attention to a picture beside that to the text (Ye et al. 2023, arXiv:2308.06721).

Z = softmax(Q Kᵀ/sqrt(d)) V + w softmax(Q K'ᵀ/sqrt(d)) V'    (eq. 5)

in each cross-attention, with K' and V' from tokens that a projection makes of CLIP's embedding of the picture, or of
its hidden states, all of them ("full") or by a resampler ("plus"). In unconditional calls the embedding is zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.backbones.adapter import Adapter
from multigen.core.backbone import Control, Lead
from multigen.errors import MultigenError, reason
from multigen.families.image_encoder import ImageEncoder
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Frozen
from multigen.storage.tensors import load_tensors, read_shapes

ENCODER = "image_encoder"  # folder of the encoder, beside the file
# Forms of projections, plain, full and "plus": a tensor that each has alone, and the one that reads the picture.
_PLAIN = "proj.weight"
_FORMS = {_PLAIN: _PLAIN, "proj.3.weight": "proj.0.weight", "latents": "proj_in.weight"}
_FACES = (
    "image_proj.perceiver_resampler.proj_in.weight",
    "image_proj.norm.weight",
)  # of FaceID's projections


class IPAdapter(Adapter):
    """An IP-Adapter of a U-Net, plain, full or "plus": a file in diffusers' layout, with its image encoder beside it.

    MultigenError for a file that is none, or one of another network, and for an encoder of another width.
    """

    def __init__(self, control: Control, network: Any, factor: int) -> None:
        path = Path(control.path).expanduser()
        self._weight, self._layers = control.weight, _layers(network)
        shapes = read_shapes(path)
        _check(path, shapes, network, self._layers)
        form = next(name for name in _FORMS if f"image_proj.{name}" in shapes)
        self._states = form != _PLAIN
        place = path.parent / ENCODER if control.encoder is None else Path(control.encoder).expanduser()
        if not place.is_dir():
            raise MultigenError(
                f"adapters: {path}: there is no image encoder at {place}. Give its folder: encoder: FOLDER"
            )
        self._encoder = ImageEncoder(place)
        takes = shapes[f"image_proj.{_FORMS[form]}"][1]
        gives = self._encoder.states if self._states else self._encoder.width
        if takes != gives:
            raise MultigenError(
                f"adapters: {path} reads {takes} numbers of a picture; the image encoder at {place} gives {gives}"
            )
        self._weights = Frozen(functools.partial(_Weights, path, network, len(self._layers)))

    @torch.no_grad()
    def lead(self, picture: Tensor, shape: tuple[int, ...]) -> Lead:
        """Make a picture [3, H, W] into tokens, [1, L, K]; those of no picture for unconditional calls."""
        project = self._weights.on(picture.device).projection
        if self._states:
            states = self._encoder.hidden(picture[None]), self._encoder.hidden_of_nothing(picture)
        else:
            one = self._encoder.embedding(picture[None])
            states = one, torch.zeros_like(one)
        return Lead(*(project(each) for each in states))

    @contextmanager
    def leading(self, network: Any, told: Tensor) -> Iterator[None]:
        """Add to each cross-attention that to the tokens [B, L, K] of the pictures."""
        weights = self._weights.on(told.device)
        with ExitStack() as stack:
            for number, name in enumerate(self._layers):
                keys, values = weights.keys[number](told), weights.values[number](told)
                hook = functools.partial(_attend, keys=keys, values=values, weight=self._weight)
                handle = network.get_submodule(name).register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            yield


def _attend(
    attention: Any, args: Any, options: Any, output: Tensor, *, keys: Tensor, values: Tensor, weight: float
) -> Tensor:
    """Add weight W softmax(Q K'ᵀ/sqrt(d)) V' to the attention's output [B, N, C]; keys and values [B, L, C]."""
    x = args[0] if args else options["hidden_states"]
    more = len(x) // len(keys)  # frames of a video, which are rows of their own
    q, k, v = attention.to_q(x), *(p.repeat_interleave(more, 0).to(x) for p in (keys, values))
    q, k, v = (p.unflatten(2, (attention.heads, -1)).transpose(1, 2) for p in (q, k, v))
    heard = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    # Called, not read: its weight may stand on another device between its calls.
    layer = attention.to_out[0]
    nothing = layer(torch.zeros_like(heard[:1, :1]))  # its bias
    return output + weight * (layer(heard) - nothing).to(output)


def _layers(network: Any) -> list[str]:
    """The names of a U-Net's attentions to text, in the order of the file."""
    names = (name.removesuffix(".processor") for name in network.attn_processors)
    return [name for name in names if not name.endswith("attn1") and "motion_modules" not in name]


def _check(path: Path, shapes: dict[str, tuple[int, ...]], network: Any, layers: list[str]) -> None:
    """MultigenError for a file of another form, or of another network."""
    forms = [f"image_proj.{name}" for name in _FORMS]
    if not any(name in shapes for name in forms):
        if any(name in shapes for name in _FACES) and any(name.startswith("ip_adapter.") for name in shapes):
            raise MultigenError(
                f"adapters: {path}: a FaceID IP-Adapter, which reads the numbers of a network that knows faces "
                "(InsightFace) and brings a LoRA; it is not supported. Allowed: IP-Adapters of pictures, plain, full "
                "or plus, those of faces (plus-face, full-face) among them."
            )
        raise MultigenError(
            f"adapters: {path}: not an IP-Adapter, plain, full or plus. Allowed: tensors image_proj.* and "
            f"ip_adapter.*, one of {', '.join(forms)} among them."
        )
    theirs = sorted(shape for name, shape in shapes.items() if name.endswith(".to_k_ip.weight"))
    width = network.config["cross_attention_dim"]
    ours = sorted((network.get_submodule(name).to_k.weight.shape[0], width) for name in layers)
    if theirs != ours:
        said = (
            f"{len(rows)} attentions, to tokens of {rows[0][1] if rows else 0}" for rows in (theirs, ours)
        )
        raise MultigenError(
            "adapters: {} is an IP-Adapter of another network: {}, and {} here".format(path, *said)
        )


class _Weights(nn.Module):
    """The tensors of a file: the projection of pictures, and keys and values of each attention."""

    def __init__(self, path: Path, network: Any, count: int) -> None:
        super().__init__()
        tensors = {name: tensor.float() for name, tensor in load_tensors(path).items()}
        own = {n.removeprefix("image_proj."): p for n, p in tensors.items() if n.startswith("image_proj.")}
        diffusers_folder.imported("diffusers")
        try:
            self.projection = network._convert_ip_adapter_image_proj_to_diffusers(
                own, low_cpu_mem_usage=False
            )
        except (RuntimeError, KeyError) as error:  # diffusers' way to say that tensors do not fit
            raise MultigenError(
                f"adapters: {path}: its image_proj cannot be loaded as an IP-Adapter's ({reason(error)})"
            ) from error
        self.keys, self.values = (
            nn.ModuleList(_linear(tensors[f"ip_adapter.{2 * k + 1}.{name}.weight"]) for k in range(count))
            for name in ("to_k_ip", "to_v_ip")
        )


def _linear(weight: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight = nn.Parameter(weight)
    return made
