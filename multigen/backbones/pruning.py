"""Pruning of a U-Net: whole channels go, those that matter least, and a narrower network of the same kind is left.

What a channel matters is the sum over its weights w, in all layers that share it, of the squared first-order change of
the loss when the weight goes, (g w)^2, with g the gradient (Molchanov et al. 2019, arXiv:1906.10771, eq. 8); without
gradients, of w^2. A level keeps channels of all its groups alike, so what is left is a U-Net of smaller `widths`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.backbones.channel_groups import Channels, Graph, graph_of
from multigen.backbones.noise_embedding import NoiseEmbedding
from multigen.backbones.resampling import DownsampleConv
from multigen.backbones.residual import Stage
from multigen.backbones.unet import UNet
from multigen.core.backbone import Backbone
from multigen.errors import MultigenError

_ALIKE = 1e-2  # singular values below this share of the largest do not count
_UNIT = 8  # widths are multiples of it, as vector units and normalisation like them


class Pruned(NamedTuple):
    """A narrower network.

    widths     of its levels
    embedding  of its noise embedding
    state      its weights, by their names in the network
    """

    widths: tuple[int, ...]
    embedding: int
    state: dict[str, Tensor]


def prune(network: Backbone, share: float, importance: Mapping[str, Tensor]) -> Pruned:
    """Take `share` of each level's channels away, to the nearest width that the network's heads allow.

    importance  of each weight, by its parameter's name, of its shape; a parameter that is missing counts as 0

    MultigenError for a network that is no `UNet`, for a share outside (0, 1), and for one that changes nothing.
    """
    if not isinstance(network, UNet):
        raise MultigenError(
            f"prune: it takes channels from our own U-Net; {type(network).__name__} is another network. Allowed for "
            "others: --int8, --half"
        )
    if not 0 < share < 1:
        raise MultigenError(
            f"prune: {share:g} is not allowed. Allowed: a share of the channels, over 0 and under 1"
        )
    before, graph = widths_of(network), graph_of(network)
    widths = _narrower(before, heads_of(network), share)
    if widths == before:
        raise MultigenError(
            f"prune: {share:g} takes no channel from widths {list(before)}; give a larger share"
        )
    embedding = max(_UNIT, round(network.embed.out.out_features * widths[0] / before[0]))
    keep = _kept(graph, {**dict(enumerate(widths)), -1: embedding}, importance)
    state = {
        name: _cut(tensor, graph.axes.get(name, ((), ())), graph, keep)
        for name, tensor in network.state_dict().items()
    }
    state["embed.noise.weight"] = _fitted(network.embed, state["embed.noise.weight"], widths[0])
    return Pruned(widths, embedding, state)


def widths_of(network: UNet) -> tuple[int, ...]:
    """The channels of each level."""
    upper = [layer.conv.out_channels for layer in network.down if isinstance(layer, DownsampleConv)]
    deepest = network.middle[0]
    assert isinstance(deepest, Stage)
    return (*upper, deepest.residual.conv1.out_channels)


def heads_of(network: UNet) -> dict[int, int]:
    """Of each width at which the network attends with several heads: the channels of one."""
    layers = [layer for layer in (*network.down, *network.middle, *network.up) if isinstance(layer, Stage)]
    found = [layer.attention.attention for layer in layers if layer.attention is not None]
    widths = {attention.query.out_features: attention.heads for attention in found}
    return {width: width // heads for width, heads in widths.items() if heads > 1}


def _narrower(before: Sequence[int], heads: Mapping[int, int], share: float) -> tuple[int, ...]:
    """The width of each level after pruning: whole heads where it attends, else a multiple of 8.

    Levels of different widths stay different, because a block between two equal ones has no convolution of its own.
    """
    new: dict[int, int] = {}
    for width in sorted(set(before)):
        unit = heads.get(width, min(_UNIT, width))
        wanted = max(unit, round((1 - share) * width / unit) * unit)
        while wanted in new.values():
            wanted += unit
        new[width] = min(wanted, width)
    return tuple(new[width] for width in before)


def _kept(graph: Graph, widths: Mapping[int, int], importance: Mapping[str, Tensor]) -> list[Tensor]:
    """Of each group, the channels that stay, in their order."""
    scores = [torch.zeros(group.width, dtype=torch.float64) for group in graph.groups]
    for name, axes in graph.axes.items():
        if name not in importance:
            continue
        values = importance[name].detach().double().cpu()
        for axis, channels in enumerate(axes):
            if not channels:
                continue
            along = values.movedim(axis, 0).flatten(1).sum(1) if values.ndim > 1 else values
            parts = along.split([graph.groups[k].width for k in channels])
            for k, part in zip(channels, parts, strict=True):
                scores[k] += part
    kept = []
    for group, score in zip(graph.groups, scores, strict=True):
        blocks = score.view(-1, group.block).sum(1)
        best = blocks.topk(widths[group.level] // group.block).indices.sort().values
        kept.append((best[:, None] * group.block + torch.arange(group.block)).flatten())
    return kept


def _cut(tensor: Tensor, axes: tuple[Channels, Channels], graph: Graph, keep: Sequence[Tensor]) -> Tensor:
    """A weight without the channels that go."""
    for axis, channels in enumerate(axes):
        if channels:
            starts = [0]
            for k in channels[:-1]:
                starts.append(starts[-1] + graph.groups[k].width)
            chosen = torch.cat([keep[k] + start for k, start in zip(channels, starts, strict=True)])
            tensor = tensor.index_select(axis, chosen.to(tensor.device))
    return tensor.clone()


def _fitted(embed: NoiseEmbedding, weight: Tensor, features: int) -> Tensor:
    """The weight [E, n] of the noise embedding for fewer sines and cosines: those that come nearest to it.

    Least squares over the log-SNRs that there are, since other periods go with another number of features. Neighbouring
    periods are nearly alike: without a bound on the singular values their weights would be huge and cancel.
    """
    fewer = NoiseEmbedding(features, 1, 0, axes=1)
    at = torch.linspace(-20, 20, 2001, dtype=torch.float64)[:, None]
    old, new = (
        torch.cat([phase.cos(), phase.sin()], dim=1)
        for phase in (at * e.frequencies.double().cpu() for e in (embed, fewer))
    )
    wanted = old @ weight.double().cpu().T
    found = torch.linalg.lstsq(new, wanted, driver="gelsd", rcond=_ALIKE).solution
    return found.T.to(weight)
