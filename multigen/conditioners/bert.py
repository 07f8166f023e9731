"""BERT in plain torch with its tokenizer, for sampling that starts at once: importing transformers takes seconds.

    h = LN(words + places + type);   h = LN(h + W_o attention(h));   h = LN(h + W_2 gelu(W_1 h))  in each layer

Devlin et al. 2018, arXiv:1810.04805. States are those of transformers' `BertModel`, up to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
_IN = "embeddings"


class States(NamedTuple):
    """What the network says, [B, L, K]."""

    last_hidden_state: Tensor


class Bert(nn.Module):
    """Token numbers [B, L] and mask [B, L] -> states [B, L, K].

    config   of config.json
    tensors  by their names in files, with or without the prefix "bert."; KeyError where one is missing

    It is made of them directly: initialising layers only to overwrite them would take longer than all else.
    """

    def __init__(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.width, self.heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        self.layers, self.eps = int(config["num_hidden_layers"]), float(config.get("layer_norm_eps", 1e-12))
        width, inner = self.width, int(config["intermediate_size"])
        self._take(tensors, f"{_IN}.word_embeddings", (int(config["vocab_size"]), width), bias=False)
        self._take(
            tensors, f"{_IN}.position_embeddings", (int(config["max_position_embeddings"]), width), bias=False
        )
        self._take(
            tensors, f"{_IN}.token_type_embeddings", (config.get("type_vocab_size", 2), width), bias=False
        )
        self._take(tensors, f"{_IN}.LayerNorm", (width,))
        for k in range(self.layers):
            for name in (
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
            ):
                self._take(tensors, f"encoder.layer.{k}.{name}", (width, width))
            self._take(tensors, f"encoder.layer.{k}.attention.output.LayerNorm", (width,))
            self._take(tensors, f"encoder.layer.{k}.intermediate.dense", (inner, width))
            self._take(tensors, f"encoder.layer.{k}.output.dense", (width, inner))
            self._take(tensors, f"encoder.layer.{k}.output.LayerNorm", (width,))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> States:
        """Token numbers [B, L] and mask [B, L], 1 for a valid token -> states [B, L, K]."""
        x = F.embedding(input_ids, self._get(f"{_IN}.word_embeddings.weight"))
        x = x + self._get(f"{_IN}.token_type_embeddings.weight")[0]
        x = self._norm(x + self._get(f"{_IN}.position_embeddings.weight")[: x.shape[1]], f"{_IN}.LayerNorm")
        mask = attention_mask.bool()[:, None, None]
        for k in range(self.layers):
            x = self._layer(x, mask, f"encoder.layer.{k}")
        return States(x)

    def _layer(self, x: Tensor, mask: Tensor, name: str) -> Tensor:
        q, k, v = (
            self._linear(x, f"{name}.attention.self.{part}").unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        y = self._linear(y, f"{name}.attention.output.dense")
        x = self._norm(y + x, f"{name}.attention.output.LayerNorm")
        y = self._linear(F.gelu(self._linear(x, f"{name}.intermediate.dense")), f"{name}.output.dense")
        return self._norm(y + x, f"{name}.output.LayerNorm")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._get(f"{name}.weight"), self._get(f"{name}.bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(
            x, (self.width,), self._get(f"{name}.weight"), self._get(f"{name}.bias"), self.eps
        )

    def _get(self, name: str) -> Tensor:
        return self.get_buffer(name.replace(".", "/"))

    def _take(
        self, tensors: dict[str, Tensor], name: str, shape: tuple[int, ...], *, bias: bool = True
    ) -> None:
        """Keep a layer's weight of a shape, and its bias. ValueError for another shape."""
        wanted = {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})
        for stored, size in wanted.items():
            value = tensors[stored] if stored in tensors else tensors[f"bert.{stored}"]
            if value.shape != size:
                raise ValueError(f"{stored}: {tuple(value.shape)} is not {size}")
            self.register_buffer(stored.replace(".", "/"), value.float())


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
        network = Bert(config, load_tensors(weights))
        return BertTokenizer(folder), network.eval()
    except (KeyError, TypeError, ValueError):  # transformers says what is wrong with it
        return None
