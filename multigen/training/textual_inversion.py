"""Training a new word: vectors that text encoders hear in its place, everything else frozen."""

from __future__ import annotations

from pathlib import Path

from multigen.conditioners import Conditioner
from multigen.core.backbone import Backbone
from multigen.errors import MultigenError
from multigen.storage import words
from multigen.storage.words import Words
from multigen.training.adapting import Adaptation, Learned, Made, refused

_INSIDE = "conditioner.new_words."


class TextualInversion(Adaptation):
    """Textual inversion (Gal et al. 2022, arXiv:2208.01618, section 3): learns v in place of a word's embedding,

        v* = arg min E ||eps - eps_theta(x_t, t, c(v))||^2

    token     the new word, as in `<cat>`
    vectors   how many of them stand for it, in each text encoder
    like      a word, or several, from whose vectors it begins; null: drawn from the seed
    template  what a caption without the word is read as, `{}` being the word
    """

    place = words.FILE

    def __init__(
        self, *, token: str, vectors: int = 1, like: str | None = None, template: str = "a photo of {}"
    ) -> None:
        if not 1 <= vectors <= 64:
            raise ValueError(f"vectors: {vectors} is not allowed. Allowed: a whole number from 1 to 64.")
        if template.count("{}") != 1:
            raise ValueError(f"template: {template!r} is not allowed. Allowed: a text with {{}} in it, once.")
        self.token, self.vectors, self.like, self.template = token, vectors, like, template

    def check(self, backbone: Backbone, conditioner: Conditioner) -> None:
        """Raise RecipeError for a model without text encoders that take new words, and a word that is none."""
        try:
            conditioner.check_words([Words(self.token, {}, "train.adapter")])
        except MultigenError as error:
            raise refused("", str(error).removeprefix("train.adapter: ")) from error

    def inject(self, backbone: Backbone, conditioner: Conditioner, seed: int) -> None:
        """Put the word into the text encoders. Only its vectors are trained."""
        conditioner.learn_word(self.token, self.vectors, self.like, seed)

    def caption(self, text: str) -> str:
        """Return a caption that says the word."""
        return text if self.token.lower() in text.lower() else self.template.format(self.token)

    def made(self, learned: Learned) -> Made:
        """Return the word of a checkpoint."""
        found = {
            name.removeprefix(_INSIDE): rows
            for name, rows in learned.tensors.items()
            if name.startswith(_INSIDE)
        }
        if not found:
            raise MultigenError("the checkpoint contains no new word")
        if len(found) == 1:  # a file for one text encoder does not name it
            found = {"": next(iter(found.values()))}
        return Made(words=Words(self.token, found, learned.recipe.name))

    def read(self, folder: Path) -> Made:
        """Return the word of a run folder."""
        return Made(words=words.read(folder / self.place, self.token))

    def write(self, folder: Path, learned: Learned, backbone: Backbone) -> None:
        """Write the file that diffusers' `load_textual_inversion` reads."""
        word = self.made(learned).words
        assert word is not None
        words.write(folder / self.place, word)
