"""Names of a U-Net's layers as the first authors of latent diffusion wrote them, which trainers of SDXL keep.

Rombach et al. 2022 (arXiv:2112.10752) number the blocks through, a resolution's own with its change of size:

    input_blocks_4_1_transformer_blocks_0_attn1_to_k -> down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k
"""

from __future__ import annotations

import re

_BLOCK = re.compile(r"(input_blocks|output_blocks)_(\d+)_(\d+)_?(.*)|middle_block_(\d+)_(.*)")
_WHOLE = {
    "input_blocks_0_0": "conv_in",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_2": "conv_out",
}
_IN_RESNET = {
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_MIDDLE = ("resnets_0", "attentions_0", "resnets_1")


def renamed(layer: str, depth: int) -> str:
    """Return diffusers' name of a layer, written with underscores, of a U-Net whose blocks have `depth` layers.

    A name of another kind stays as it is.
    """
    found = _BLOCK.fullmatch(layer)
    if layer in _WHOLE or found is None:
        return _WHOLE.get(layer, layer)
    side, number, inner, rest, middle, below = found.groups()
    if middle is not None:
        kind = _MIDDLE[int(middle)] if int(middle) < len(_MIDDLE) else layer
        return f"mid_block_{kind}_{_IN_RESNET.get(below, below)}"
    down = side == "input_blocks"
    block, place = divmod(int(number) - down, depth + 1)
    path = f"{'down' if down else 'up'}_blocks_{block}"
    if rest in ("op", "conv"):
        return f"{path}_{'down' if down else 'up'}samplers_0_conv"
    return f"{path}_{'resnets' if inner == '0' else 'attentions'}_{place}_{_IN_RESNET.get(rest, rest)}"
