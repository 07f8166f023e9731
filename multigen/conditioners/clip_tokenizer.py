"""The CLIP tokenizer of a Stable Diffusion pipeline."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.errors import MultigenError, reason
from multigen.storage import diffusers_folder


class ClipTokenizer:
    """Prompts -> token numbers, padded to one length. It is loaded when first used; a deep copy is the same object.

    folder  the pipeline's folder, whose `tokenizer` is used
    length  most positions of the text encoder
    """

    def __init__(self, folder: Path, length: int) -> None:
        self.folder, self._longest = folder, length
        self._lock = threading.Lock()
        self._tokenizer: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> ClipTokenizer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return ClipTokenizer, (self.folder, self._longest)

    @property
    def length(self) -> int:
        """Tokens of a padded prompt, with its start and end."""
        return min(self._longest, self._loaded().model_max_length)

    def __call__(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token numbers [B, L] and the mask of those that are not padding [B, L], int64."""
        tokens = self._loaded()(
            list(prompts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        return tokens.input_ids, tokens.attention_mask

    def count(self, prompt: str) -> int:
        """Count the tokens of a prompt before it is cut, with its start and end."""
        return len(self._loaded()(prompt, verbose=False).input_ids)

    def pieces(self, word: str) -> list[str]:
        """Split a word into tokens."""
        return self._loaded().tokenize(word)

    def _loaded(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                place = self.folder / "tokenizer"
                try:
                    kind = diffusers_folder.imported("transformers").CLIPTokenizer
                    self._tokenizer = kind.from_pretrained(place, local_files_only=True)
                except MultigenError:
                    raise
                except Exception as error:  # the library raises anything for damaged files
                    raise MultigenError(
                        f"{place}: cannot be loaded as a CLIPTokenizer ({reason(error)})"
                    ) from error
        return self._tokenizer
