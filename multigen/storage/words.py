"""Files of textual inversion: embeddings of a new word (Gal et al. 2022, arXiv:2208.01618).

learned_embeds.safetensors    {"<cat>": [n, K]}                            diffusers, one text encoder
                              {"emb_params": [n, K]}                       A1111
                              {"clip_l": [n, K], "clip_g": [n, K']}        several text encoders (SDXL); "t5" likewise
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from multigen.errors import MultigenError
from multigen.storage.files import atomic
from multigen.storage.tensors import load_tensors, read_header, save_tensors

FILE = "learned_embeds.safetensors"
ENCODERS = ("clip_l", "clip_g", "t5")  # names of text encoders in files for several
_ALSO = {"text_encoders_0": "clip_l", "text_encoders_1": "clip_g"}  # of diffusers' training scripts
_NAMELESS = ("emb_params", "*")  # names of tensors that are no word
_ABOUT = "multigen"  # the only entry of the header: safetensors writes several in random order


@dataclass(frozen=True)
class Words:
    """A new word, and the vectors that text encoders hear in its place.

    token    as it stands in prompts
    vectors  name of the text encoder in files ("": the first that they fit) -> [n, K]
    where    the file's name in messages
    """

    token: str
    vectors: Mapping[str, Tensor]
    where: str


def read(path: Path, token: str | None) -> Words:
    """Read a file, or that of a folder. `token` names the word where the file does not, or otherwise.

    MultigenError for a file that holds no embedding of one word, and where nothing names the word.
    """
    path = path / FILE if path.is_dir() else path
    tensors = {_ALSO.get(name, name): value for name, value in load_tensors(path).items()}
    if set(tensors) <= set(ENCODERS):
        vectors, named = tensors, _told(path)
    elif len(tensors) == 1:
        ((name, value),) = tensors.items()
        vectors, named = {"": value}, None if name in _NAMELESS else name
    else:
        some = ", ".join(sorted(tensors)[:3])
        raise MultigenError(
            f"{path}: it holds no embedding of one word: {len(tensors)} tensors ({some} ...). Allowed: one, or "
            f"{', '.join(ENCODERS)}."
        )
    word = token or named
    if not tensors or word is None:
        raise MultigenError(f"{path}: it does not name its word. Give it: token: <name>")
    vectors = {name: value[None] if value.ndim == 1 else value for name, value in vectors.items()}
    for value in vectors.values():
        if value.ndim != 2 or not value.isfinite().all():
            raise MultigenError(
                f"{path}: {list(value.shape)} numbers are no embeddings [n, width], or not finite"
            )
    return Words(word, {name: value.float() for name, value in vectors.items()}, str(path))


def write(path: Path, words: Words) -> Path:
    """Write a file atomically that `read` and diffusers' `load_textual_inversion` take."""
    tensors = {name or words.token: value for name, value in words.vectors.items()}
    with atomic(path) as temporary:
        save_tensors(temporary, tensors, {_ABOUT: json.dumps({"token": words.token})})
    return path


def _told(path: Path) -> str | None:
    """The word in the header of a file that multigen wrote."""
    try:
        about = json.loads(read_header(path).get(_ABOUT, "{}"))
    except (ValueError, RecursionError):
        return None
    token = about.get("token") if isinstance(about, dict) else None
    return token if isinstance(token, str) else None
