"""New words of textual inversion: which text encoder of a pipeline hears which of their vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from multigen.conditioners.pipeline_encoder import PipelineEncoder
from multigen.core.noise import normal
from multigen.errors import MultigenError
from multigen.storage.words import ENCODERS, Words

Named = Mapping[str, PipelineEncoder]  # by their names in files
_CLIP, _T5 = ENCODERS[:2], ENCODERS[2]
_LEARNED = 0.02  # standard deviation of CLIP's embeddings as they are drawn, about that of the learned ones


def named(encoders: Sequence[PipelineEncoder]) -> dict[str, PipelineEncoder]:
    """Return a pipeline's text encoders by their names in files."""
    clips = [one for one in encoders if one.is_clip]
    others = [one for one in encoders if one.is_t5]
    return {**dict(zip(_CLIP, clips, strict=False)), **({_T5: others[0]} if others else {})}


def assigned(words: Sequence[Words], encoders: Named) -> dict[str, dict[str, Tensor]]:
    """Return the vectors [n, K] of each word, by encoder and word.

    MultigenError for a word that is taken, for vectors of another width than the encoders', and for an encoder that the
    pipeline lacks.
    """
    found: dict[str, dict[str, Tensor]] = {name: {} for name in encoders}
    for one in words:
        _check_token(one, [w.token for w in words], encoders)
        for name, vectors in one.vectors.items():
            found[_place(one, name, vectors, encoders)][one.token] = vectors
    return found


def _place(one: Words, name: str, vectors: Tensor, encoders: Named) -> str:
    """The name of the encoder that hears these vectors."""
    fits = [key for key, encoder in encoders.items() if encoder.width == vectors.shape[1]]
    if name and name not in encoders:
        raise MultigenError(
            f"{one.where}: it has vectors for {name}, which this model does not have. It has {', '.join(encoders)}."
        )
    if name in fits or (not name and fits):
        return name or fits[0]
    wide = ", ".join(f"{key} {encoder.width}" for key, encoder in encoders.items())
    raise MultigenError(
        f"{one.where}: this embedding is for another text encoder: {vectors.shape[1]} numbers a vector, and here {wide}"
    )


def _check_token(one: Words, tokens: Sequence[str], encoders: Named) -> None:
    """MultigenError for a word that cannot be a new one."""
    if re.search(r"[\s()\\:]", one.token) or not one.token:
        raise MultigenError(
            f"{one.where}: token {one.token!r} is not allowed. Allowed: a word without blanks, brackets, colons and "
            "backslashes, such as <cat>."
        )
    taken = any(encoder.tokenizer.knows(one.token) for encoder in encoders.values())
    if taken or [t.lower() for t in tokens].count(one.token.lower()) > 1:
        why = "the vocabulary has it already" if taken else "two embeddings have it"
        raise MultigenError(
            f"{one.where}: token {one.token!r} is not allowed: {why}. Give another: token: <name>"
        )


def first_vectors(
    encoder: PipelineEncoder, count: int, like: str | None, seed: int, device: torch.device
) -> Tensor:
    """Return `count` vectors [n, K] from which a word is learned: those of a text's tokens in turn, or drawn ones."""
    if like is None:
        return _LEARNED * normal((count, encoder.width), seed, "word", encoder.stream.encoder)
    numbers = encoder.tokenizer.numbers(like)
    if not numbers:
        raise MultigenError(f"train.adapter.like: {like!r} is not allowed. Allowed: a word, or several.")
    table = encoder.embedding(device)
    return table[[numbers[k % len(numbers)] for k in range(count)]].clone()
