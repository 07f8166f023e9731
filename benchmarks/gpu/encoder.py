"""A text encoder cut down to what some captions need: 8-bit matrices, the rows of its vocabulary that they use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigen.errors import MultigenError

_WORDS = "embeddings.word_embeddings.weight"
_SCALE = ".scale"  # of an 8-bit matrix: a number for each group of a row
_GROUP = 32  # numbers that share a scale
_SMALL = ("config.json", "tokenizer_config.json", "special_tokens_map.json")


def trimmed(folder: Path, captions: Iterable[str], out: Path) -> int:
    """Write a BERT of `folder` for these captions to `out`; how many tokens it still knows.

    WordPiece takes the longest piece that it knows, so that captions whose pieces are all kept are cut as before. All
    single characters of ASCII stay too: no other English word becomes unknown, it is only cut finer. Matrices are
    rounded to 8 bits, in groups with a scale each, the rest to fp16; `whole` makes a loadable folder of it.
    MultigenError for an encoder of another kind.
    """
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = vocabulary["model"]
    if model["type"] != "WordPiece":
        raise MultigenError(f"{folder}: its tokenizer is {model['type']}; only WordPiece can be trimmed")
    kept = _kept(folder, vocabulary, captions)
    order = sorted(kept, key=model["vocab"].__getitem__)
    weights = load_file(folder / "model.safetensors")
    rows = [model["vocab"][piece] for piece in order]
    weights[_WORDS] = weights[_WORDS][rows]
    out.mkdir(parents=True, exist_ok=True)
    save_file(_packed(weights), out / "model.safetensors")
    _write_tokenizer(vocabulary, order, out)
    for name in _SMALL:
        if (folder / name).is_file():
            shutil.copy(folder / name, out / name)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    (out / "config.json").write_text(json.dumps({**config, "vocab_size": len(order)}), encoding="utf-8")
    return len(order)


def whole(folder: Path, out: Path) -> Path:
    """Write what `trimmed` wrote as a transformers folder in fp32; `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.name != "model.safetensors":
            shutil.copy(file, out / file.name)
    packed = load_file(folder / "model.safetensors")
    weights = {}
    for name, value in packed.items():
        if name.endswith(_SCALE):
            continue
        scale = packed.get(name + _SCALE)
        floating = scale is not None or value.is_floating_point()
        value = value.float() if floating else value
        weights[name] = value if scale is None else (_grouped(value) * scale.float()[..., None]).flatten(1)
    save_file(weights, out / "model.safetensors")
    return out


def _packed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as int8 with a scale a group, other floating tensors as fp16."""
    out = {}
    for name, value in weights.items():
        if value.ndim == 2 and value.is_floating_point():
            # The scale as it is stored, so that rounding is to what will be multiplied.
            groups = _grouped(value)
            scale = (groups.abs().amax(-1) / 127).clamp_min(1e-6).half()
            rounded = (groups / scale.float()[..., None]).round().clamp(-127, 127)
            out[name], out[name + _SCALE] = rounded.flatten(1).to(torch.int8), scale
        else:
            out[name] = (value.half() if value.is_floating_point() else value).contiguous()
    return out


def _grouped(matrix: Tensor) -> Tensor:
    """[M, N] as [M, groups, numbers that share a scale]."""
    return matrix.unflatten(1, (-1, _GROUP if matrix.shape[1] % _GROUP == 0 else matrix.shape[1]))


def _kept(folder: Path, vocabulary: dict[str, Any], captions: Iterable[str]) -> set[str]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    kept = {token["content"] for token in vocabulary["added_tokens"]}
    single = (piece for piece in vocabulary["model"]["vocab"] if len(piece.removeprefix("##")) == 1)
    kept |= {piece for piece in single if piece.isascii()}
    for encoding in tokenizer.encode_batch(sorted(set(captions))):
        kept.update(encoding.tokens)
    return kept


def _write_tokenizer(vocabulary: dict[str, Any], order: list[str], out: Path) -> None:
    """tokenizer.json and vocab.txt with the pieces numbered anew."""
    number = {piece: k for k, piece in enumerate(order)}
    new = json.loads(json.dumps(vocabulary))
    new["model"]["vocab"] = number
    for token in new["added_tokens"]:
        token["id"] = number[token["content"]]
    for token in new["post_processor"]["special_tokens"].values():
        token["ids"] = [number[content] for content in token["tokens"]]
    if new.get("padding"):
        new["padding"]["pad_id"] = number[new["padding"]["pad_token"]]
    (out / "tokenizer.json").write_text(json.dumps(new, ensure_ascii=False), encoding="utf-8")
    (out / "vocab.txt").write_text("\n".join(order) + "\n", encoding="utf-8")
