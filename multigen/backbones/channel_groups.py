"""Which channels of a U-Net's weights belong together: those that must stay or go as one when it is pruned.

Channels that are added to each other are one group: the sums of residual blocks, what attention adds to them, and the
skip connections that carry them. So are the scale and the shift of a normalisation with the channels that it scales,
and the queries, keys and values of an attention head. (Fang et al. 2023, arXiv:2301.12900, calls this a dependency
graph; here the network's form is known, so it is walked.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from multigen.backbones.attention import Attention, AttentionBlock
from multigen.backbones.noise_embedding import NoiseEmbedding
from multigen.backbones.resampling import DownsampleConv, UpsampleConv
from multigen.backbones.residual import ResidualBlock, Stage
from multigen.backbones.unet import UNet

Channels = tuple[int, ...]  # groups side by side, as along an axis of a weight


class Group(NamedTuple):
    """Channels that stay or go together with those of the same place in other weights.

    width  how many there are
    level  whose width they follow; -1: the embedding's
    block  channels that stay or go as one: those of an attention head, or 1
    """

    width: int
    level: int
    block: int = 1


@dataclass
class Graph:
    """The groups of a U-Net, and where they stand.

    axes  by the name of a parameter, the groups along its first and second axis; () for an axis that stays whole
    """

    groups: list[Group] = field(default_factory=list)
    axes: dict[str, tuple[Channels, Channels]] = field(default_factory=dict)

    def add(self, width: int, level: int, block: int = 1) -> Channels:
        """A new group."""
        self.groups.append(Group(width, level, block))
        return (len(self.groups) - 1,)

    def put(self, name: str, module: nn.Module, out: Channels, given: Channels = ()) -> None:
        """A layer whose outputs are `out`, its inputs `given`."""
        for key, parameter in module.named_parameters(recurse=False):
            self.axes[f"{name}.{key}"] = (out, given if parameter.ndim > 1 else ())


def graph_of(network: UNet) -> Graph:
    """The groups of a network's channels."""
    graph = Graph()
    embedding = _embedding(graph, network.embed)
    stream = graph.add(network.enter.out_channels, 0)
    graph.put("enter", network.enter, stream)
    skips, level = [stream], 0
    for number, layer in enumerate(network.down):
        name = f"down.{number}"
        if isinstance(layer, DownsampleConv):
            fresh = graph.add(layer.conv.out_channels, level)
            graph.put(f"{name}.conv", layer.conv, fresh, stream)
            stream, level = fresh, level + 1
        else:
            stream = _stage(graph, name, layer, stream, embedding, level)
        skips.append(stream)
    for number, layer in enumerate(network.middle):
        stream = _stage(graph, f"middle.{number}", layer, stream, embedding, level)
    for number, layer in enumerate(network.up):
        name = f"up.{number}"
        if isinstance(layer, UpsampleConv):
            fresh = graph.add(layer.conv.out_channels, level)
            graph.put(f"{name}.conv", layer.conv, fresh, stream)
            stream, level = fresh, level - 1
        else:
            stream = _stage(graph, name, layer, stream + skips.pop(), embedding, level)
    graph.put("leave_norm", network.leave_norm, stream)
    graph.put("leave", network.leave, (), stream)
    return graph


def _embedding(graph: Graph, embed: NoiseEmbedding) -> Channels:
    """The embedding's layers; the groups of its output."""
    width = embed.out.out_features
    inner, out = graph.add(width, -1), graph.add(width, -1)
    graph.put("embed.noise", embed.noise, inner)
    for name, layer in (("vector", embed.vector), ("time_place", embed.time_place)):
        if layer is not None:
            graph.put(f"embed.{name}", layer, inner)
    graph.put("embed.out", embed.out, out, inner)
    return out


def _stage(
    graph: Graph, name: str, stage: nn.Module, given: Channels, embedding: Channels, level: int
) -> Channels:
    """A residual block and its attention; the groups of their output."""
    assert isinstance(stage, Stage)
    out = _residual(graph, f"{name}.residual", stage.residual, given, embedding, level)
    if stage.attention is not None:
        _attention_block(graph, f"{name}.attention", stage.attention, out, level)
    return out


def _residual(
    graph: Graph, name: str, block: ResidualBlock, given: Channels, embedding: Channels, level: int
) -> Channels:
    width = block.conv1.out_channels
    inner = graph.add(width, level)
    out = given if isinstance(block.shortcut, nn.Identity) else graph.add(width, level)
    graph.put(f"{name}.norm1", block.norm1, given)
    graph.put(f"{name}.conv1", block.conv1, inner, given)
    if block.time_conv is not None:
        graph.put(f"{name}.time_conv.conv", block.time_conv.conv, inner, inner)
    if block.film is not None:
        graph.put(f"{name}.film", block.film, inner + inner, embedding)
    graph.put(f"{name}.norm2", block.norm2, inner)
    graph.put(f"{name}.conv2", block.conv2, out, inner)
    if not isinstance(block.shortcut, nn.Identity):
        graph.put(f"{name}.shortcut", block.shortcut, out, given)
    return out


def _attention_block(graph: Graph, name: str, block: AttentionBlock, stream: Channels, level: int) -> None:
    """Attention over space, over time and to the tokens; each adds to the stream. Tokens stay whole."""
    parts = (
        ("norm", block.norm, "attention", block.attention, stream),
        ("time_norm", block.time_norm, "time_attention", block.time_attention, stream),
        ("cross_norm", block.cross_norm, "cross_attention", block.cross_attention, ()),
    )
    for norm_name, norm, attention_name, attention, other in parts:
        if norm is None or attention is None:
            continue
        graph.put(f"{name}.{norm_name}", norm, stream)
        _attention(graph, f"{name}.{attention_name}", attention, stream, other, level)


def _attention(
    graph: Graph, name: str, attention: Attention, stream: Channels, other: Channels, level: int
) -> None:
    width = attention.query.out_features
    heads = graph.add(width, level, width // attention.heads if attention.heads > 1 else 1)
    graph.put(f"{name}.query", attention.query, heads, stream)
    graph.put(f"{name}.key_value", attention.key_value, heads + heads, other)
    graph.put(f"{name}.out", attention.out, stream, heads)
