"""Vocoders of trained models, as the mel codec is given them."""

from __future__ import annotations

import inspect
from pathlib import Path

from multigen import registry
from multigen.codecs.mel_settings import MelSettings
from multigen.codecs.vocoder import UNTRAINED, VocoderWeights
from multigen.errors import RecipeError, message
from multigen.model.source import find
from multigen.recipe.paths import shipped_weights


def load_vocoder(source: str) -> VocoderWeights:
    """Load a vocoder by shipped name, weights file or run folder. RecipeError if there is none."""
    shipped = {name: path for name, path in shipped_weights().items() if name.startswith("vocoder")}
    path = shipped.get(source) or Path(source).expanduser()
    if not path.exists():
        hint = "Or weights of a vocoder: a file or a run folder."
        raise RecipeError(message("codec.vocoder", source, [*UNTRAINED, *shipped], hint=hint))
    found = find(path)
    tensors = found.tensors_of("codec.vocoder")
    if not tensors:
        raise RecipeError(
            f"codec.vocoder: {found.where} holds no vocoder: its recipe, {found.recipe.name}, trains none"
        )
    codec, modality = found.recipe.codec, found.recipe.modality
    arguments = registry.arguments("codec", codec.name)
    args = {a.name: a.default for a in arguments if a.default is not inspect.Parameter.empty} | dict(
        codec.args
    )
    rate = registry.build("modality", modality, where="modality").shape(duration=1.0)[1]
    settings = MelSettings(
        rate=rate, fft=args["fft"], hop=args["hop"], bins=args["bins"], components=args["components"],
        low=args["low"], high=rate / 2 if args["high"] is None else args["high"], floor=args["floor"],
    )  # fmt: skip
    return VocoderWeights(tensors, settings, args["width"], args["blocks"], str(found.where))
