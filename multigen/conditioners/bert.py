"""BERT in plain torch with its tokenizer, for sampling that starts at once: importing transformers takes seconds.

    h = LN(words + places + type);   h = LN(h + W_o attention(h));   h = LN(h + W_2 gelu(W_1 h))  in each layer

Devlin et al. 2018, arXiv:1810.04805. States are those of transformers' `BertModel`, up to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.storage.tensors import load_tensors

# What must be so for this to be the network that a config.json describes.
_PLAIN = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
}
_NO_LIMIT = 10**9


class States(NamedTuple):
    """What the network says, [B, L, K]."""

    last_hidden_state: Tensor


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps)
        self.wide, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)
        self.last = nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, K], mask [B, 1, 1, L] -> [B, L, K]."""
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self.norm(x + self.out(y))
        return self.last(x + self.narrow(F.gelu(self.wide(x))))


# Where a layer's modules stand in the files.
_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "norm": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "last": "output.LayerNorm",
}


class Bert(nn.Module):
    """Token numbers [B, L] and mask [B, L] -> states [B, L, K]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        self.words = nn.Embedding(config["vocab_size"], width)
        self.places = nn.Embedding(config["max_position_embeddings"], width)
        self.kinds = nn.Embedding(config.get("type_vocab_size", 2), width)
        self.norm = nn.LayerNorm(width, eps)
        size = (width, config["num_attention_heads"], config["intermediate_size"], eps)
        self.layers = nn.ModuleList(_Layer(*size) for _ in range(config["num_hidden_layers"]))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> States:
        """Token numbers [B, L] and mask [B, L], 1 for a valid token -> states [B, L, K]."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.norm(self.words(input_ids) + self.kinds.weight[0] + self.places(places))
        mask = attention_mask.bool()[:, None, None]
        for layer in self.layers:
            x = layer(x, mask)
        return States(x)

    def read(self, tensors: dict[str, Tensor]) -> bool:
        """Take weights by their names in files, with or without a prefix; whether all were there."""
        rename = {
            "words": "embeddings.word_embeddings",
            "places": "embeddings.position_embeddings",
            "kinds": "embeddings.token_type_embeddings",
            "norm": "embeddings.LayerNorm",
        }
        for k in range(len(self.layers)):
            rename |= {f"layers.{k}.{own}": f"encoder.layer.{k}.{name}" for own, name in _NAMES.items()}
        found = {}
        for name, p in self.named_parameters():
            module, _, leaf = name.rpartition(".")
            stored = f"{rename[module]}.{leaf}"
            value = tensors.get(stored, tensors.get(f"bert.{stored}"))
            if value is None or value.shape != p.shape:
                return False
            found[name] = value.float()
        self.load_state_dict(found)
        return True


class Encoded(NamedTuple):
    """Token numbers of a caption, or of several."""

    input_ids: Any


class BertTokenizer:
    """tokenizer.json through the `tokenizers` library, with what `TextModel` uses of transformers' tokenizers."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        self.model_max_length = int(min(config.get("model_max_length", _NO_LIMIT), _NO_LIMIT))
        self.unk_token = str(config.get("unk_token", "[UNK]"))
        self.bos_token_id = self.eos_token_id = None
        self.pad_token_id = self._tokenizer.token_to_id("[PAD]")
        self.unk_token_id = self._tokenizer.token_to_id(self.unk_token)

    def __call__(
        self, text: str | Sequence[str], truncation: bool = False, max_length: int | None = None
    ) -> Encoded:
        """Token numbers of a caption, or a list of them for each of several."""
        if truncation and max_length is not None:
            self._tokenizer.enable_truncation(max_length)
        else:
            self._tokenizer.no_truncation()
        if isinstance(text, str):
            return Encoded(self._tokenizer.encode(text).ids)
        return Encoded([one.ids for one in self._tokenizer.encode_batch(list(text))])

    def tokenize(self, text: str) -> list[str]:
        """Tokens of a text, without special ones."""
        self._tokenizer.no_truncation()
        return self._tokenizer.encode(text, add_special_tokens=False).tokens

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """Tokens of these numbers."""
        return [str(self._tokenizer.id_to_token(i)) for i in ids]


def load_bert(folder: Path) -> tuple[BertTokenizer, Bert] | None:
    """Tokenizer and network of a transformers folder; None where it is not plain BERT with all of its weights."""
    weights, files = folder / "model.safetensors", ("tokenizer.json", "tokenizer_config.json")
    if not weights.is_file() or not all((folder / name).is_file() for name in files):
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "model_type" not in config or any(config.get(k, v) != v for k, v in _PLAIN.items()):
        return None
    try:
        with torch.device("meta"):
            network = Bert(config)
        network = network.to_empty(device="cpu")
        if not network.read(load_tensors(weights)):
            return None
        return BertTokenizer(folder), network.eval().requires_grad_(False)
    except (KeyError, TypeError, ValueError):  # transformers says what is wrong with it
        return None
