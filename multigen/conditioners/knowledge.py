"""What a model was told: captions of its training, to tell a prompt that is unlike all of them.

A model makes something of any prompt. Of one that is far from its captions it makes blobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.conditioners import Conditioner
from multigen.errors import MultigenError
from multigen.storage.emoji_names import with_emoji_names

PREFIX = "knowledge."
FILE = "knowledge.safetensors"  # beside the weights of a run folder
MOST = 512  # captions that are kept
# Similarities, above and below the level of a model, from which a prompt is new: one with words that no caption had,
# and one of known words alone. Chosen on 76 prompts for the shipped models.
_NEW_WORDS, _KNOWN_WORDS = 0.07, -0.15
_LEVELS = (0.3, 0.85)
_SMALL = frozenset(
    ("a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "its", "of", "on", "or", "some",
     "that", "the", "this", "to", "with")
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A prompt beside the captions of a training.

    novelty    1 less the cosine similarity to the nearest caption: 0 known, 1 unrelated
    is_new     whether the model cannot be expected to know it
    nearest    the nearest captions, the nearest first
    new_words  words of the prompt that no caption had
    """

    novelty: float
    is_new: bool
    nearest: tuple[str, ...]
    new_words: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Knowledge:
    """A summary of a training's captions.

    captions  as far from each other as they can be, at most `MOST`
    vectors   what the text encoder makes of them, int8 [K, D]
    words     of all captions
    level     similarity to the nearest caption that 99% of the training's captions reach
    about     what the captions are about, in a few words; "" where nobody has said
    """

    captions: tuple[str, ...]
    vectors: Tensor
    words: frozenset[str]
    level: float
    about: str = ""

    def judge(self, conditioner: Conditioner, prompt: str) -> Verdict:
        """Compare a prompt with the captions."""
        prompt = with_emoji_names(prompt)
        similar = _unit(self.vectors.float()) @ embedded(conditioner, [prompt])[0]
        order = similar.argsort(descending=True)[:3].tolist()
        new = tuple(word for stem, word in words_of(prompt).items() if stem not in self.words)
        best = float(similar[order[0]])
        is_new = best < self.level + (_NEW_WORDS if new else _KNOWN_WORDS)
        return Verdict(round(1 - best, 3), is_new, tuple(self.captions[k] for k in order), new)

    def joined(self, other: Knowledge) -> Knowledge:
        """Return what a model knows that was trained on the captions of both."""
        return Knowledge(
            self.captions + other.captions,
            torch.cat([self.vectors, other.vectors]),
            self.words | other.words,
            min(self.level, other.level),
            " and ".join(dict.fromkeys(a for a in (self.about, other.about) if a)),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file stores."""
        data = {
            "captions": self.captions,
            "words": sorted(self.words),
            "level": self.level,
            "about": self.about,
        }
        text = torch.frombuffer(bytearray(json.dumps(data, ensure_ascii=False).encode()), dtype=torch.uint8)
        return {f"{PREFIX}vectors": self.vectors, f"{PREFIX}text": text}


def stored(tensors: Mapping[str, Tensor], where: str) -> Knowledge | None:
    """Return the knowledge among the tensors of a file, if there is any. MultigenError if it is damaged."""
    vectors, text = tensors.get(f"{PREFIX}vectors"), tensors.get(f"{PREFIX}text")
    if vectors is None or text is None:
        return None
    try:
        data: dict[str, Any] = json.loads(bytes(text.numpy().tobytes()))
        captions = tuple(map(str, data["captions"]))
        if vectors.ndim != 2 or len(captions) != len(vectors) or not captions:
            raise ValueError("as many captions as vectors are needed")
        return Knowledge(
            captions, vectors, frozenset(data["words"]), float(data["level"]), str(data["about"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MultigenError(f"{where}: what it knows is damaged ({error})") from error


def summary(conditioner: Conditioner, captions: Sequence[str], about: str = "") -> Knowledge | None:
    """Summarise captions; None where there are none, or where the conditioner takes no text."""
    captions = list(dict.fromkeys(c for c in (with_emoji_names(c).strip() for c in captions) if c))
    if not captions or not _takes_text(conditioner):
        return None
    vectors = embedded(conditioner, captions)
    kept = _spread(vectors, MOST)
    similar = vectors @ vectors[kept].T
    for column, row in enumerate(kept):
        similar[row, column] = -1  # itself
    known = similar.max(1).values if len(captions) > 1 else torch.zeros(1)
    level = min(max(float(known.quantile(0.01)), _LEVELS[0]), _LEVELS[1])
    levels = (vectors[kept] / vectors[kept].abs().amax(1, keepdim=True) * 127).round().to(torch.int8)
    words = frozenset(w for c in captions for w in words_of(c))
    return Knowledge(tuple(captions[k] for k in kept), levels, words, round(level, 3), about)


def words_of(text: str) -> dict[str, str]:
    """Return the words of a text in lower case, without numbers and small words: singular -> as it is written."""
    words = [w for w in re.findall(r"[^\W\d_]+", text.lower()) if len(w) > 1 and w not in _SMALL]
    return {w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w: w for w in words}


@torch.no_grad()
def embedded(conditioner: Conditioner, texts: Sequence[str]) -> Tensor:
    """Return unit vectors of texts, fp32 [B, D] on the CPU: the pooled condition, or the mean of its tokens."""
    cond = conditioner({"text": list(texts)})
    if cond.vector is not None:
        return _unit(cond.vector.float().cpu())
    assert cond.tokens is not None and cond.mask is not None
    weights = cond.mask.float()[..., None]
    return _unit(((cond.tokens.float() * weights).sum(1) / weights.sum(1)).cpu())


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1)


def _takes_text(conditioner: Conditioner) -> bool:
    try:
        return "text" in conditioner.from_prompts(["apple"])
    except MultigenError:  # a class it does not have
        return False


def _spread(vectors: Tensor, most: int) -> list[int]:
    """Indices of vectors that are far from each other: each is the farthest from those before it."""
    chosen, near = [0], vectors @ vectors[0]
    while len(chosen) < min(most, len(vectors)):
        chosen.append(int(near.argmin()))
        near = torch.maximum(near, vectors @ vectors[chosen[-1]])
    return chosen
