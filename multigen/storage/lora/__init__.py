"""LoRA files: low-rank changes of a base model's weights, in diffusers' format (Hu et al. 2021, arXiv:2106.09685).

With LoRAs k of weights w_k a layer has

    weight = base + sum_k w_k scale_k (up_k down_k)

`pytorch_lora_weights.safetensors` holds `<layer>.lora_A.weight` (down) and `<layer>.lora_B.weight` (up). Layer names
begin with the network's in its pipeline, as in diffusers (`unet.`, `transformer.`, `text_encoder.`, `text_encoder_2.`),
and with `backbone.` for other backbones. In the files that multigen writes alpha is multiplied into `up`, so that every
reader applies the same strength. Reading and adding LoRAs needs no further package.

Files of peft, of diffusers' `save_attn_procs` and of kohya's trainers are read, too (`places` finds their layers).
DoRA of weight 1 is what peft makes; another weight multiplies the change that it makes to the base, so that 0 is the
base.
"""

from multigen.storage.lora.adapter import Adapter, Pair, check_weight
from multigen.storage.lora.files import FILE, in_folder, is_lora, read, write
from multigen.storage.lora.merged import MergedWeights
from multigen.storage.lora.places import Change, deltas, prefixes

__all__ = [
    "FILE",
    "Adapter",
    "Change",
    "MergedWeights",
    "Pair",
    "check_weight",
    "deltas",
    "in_folder",
    "is_lora",
    "prefixes",
    "read",
    "write",
]
